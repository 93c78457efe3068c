"""The ranking in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.comparison import Comparison
from brainseg.analysis.pareto import sentence as pareto_sentence
from brainseg.data.labels import in_words
from brainseg.records.queries import fold_count, parts_in_words
from brainseg.records.trial_state import TrialState
from brainseg.report.columns import bare_table, broken, fit, left_out, print_prose
from brainseg.report.comparison import headline
from brainseg.report.formatting import duration, number
from brainseg.report.results import Results, baseline_rows
from brainseg.report.sentences import (
    audit_note,
    baselines_note,
    caveat,
    ending_note,
    expected_dice_note,
    file_notes,
    has_expected_dice,
    retry_notes,
    split_source,
    warnings,
)
from brainseg.search.expected_dice import EXPECTED

SHOWN = 60  # rows of a table, at most


def print_ranking(results: Results, console: Console) -> None:
    """The answer, the ranking as a table, and below it what its figures mean."""
    sweep, frame, run = results.sweep, results.ranking, results.run
    console.print(Text(sweep["question"], style="bold"))
    for sentence in filter(None, (headline(results), _more(results), expected_dice_note(results))):
        print_prose(console, sentence)
    table, left = _ranking_table(frame.head(SHOWN), baseline_rows(sweep), console.width)
    notes = [Text(note, style="dim") for note in (left, _left_out(frame, "trials")) if note]
    trials = [table, *notes] if len(frame) and "refits" not in sweep else []
    means = results.over_seeds
    more = [Text(note, style="dim") for note in [_left_out(means, "configurations")] if note]
    seeds = [_seed_table(means.head(SHOWN), console.width), *more] if len(means) else []
    for part in (*seeds, *trials) if fold_count(sweep) else (*trials, *seeds):
        console.print(part)
    for row in frame[frame["state"] == TrialState.FAILED].to_dict("records"):
        console.print(Text(f"{row['trial']} failed: {row['reason']}", style="red"))
    for note in (*file_notes(results.snapshot), *retry_notes(results.snapshot)):
        console.print(Text(note, style="yellow"))
    for note in _notes(results):
        console.print(Text(note, style="dim"))
    for path in filter(Path.exists, (run.report, run.results)):
        console.print(Text(str(path)), soft_wrap=True)


def _left_out(frame: pd.DataFrame, what: str) -> str:
    """That not all rows of a table are shown, if so."""
    if len(frame) <= SHOWN:
        return ""
    return f"The first {SHOWN} of {len(frame)} {what}; report.html has all."


def _more(results: Results) -> str:
    """Where the whole comparison is, if there is one."""
    if not isinstance(results.comparison, Comparison):
        return ""
    return f"The whole comparison: `brainseg compare {results.snapshot.path}`."


def _notes(results: Results) -> list[str]:
    run, sweep, split = results.snapshot, results.sweep, results.sweep["split"]
    label = sweep["data"].get("label", "")
    params = [record.params for record in run.records if record.params] or [sweep["base"]]
    sides = sorted({settings["image_size"] for settings in params})
    pixels = " or ".join(f"{side}x{side}" for side in sides)
    dice = f"Dice: mean over the validation patients of each one's volume Dice, at {pixels} pixels."
    return [
        *[dice] * ("refits" not in sweep),
        *[f"{words[:1].upper()}{words[1:]}." for words in filter(None, [in_words(label)])],
        *[f"Expected: {EXPECTED[:1].lower()}{EXPECTED[1:]}"] * has_expected_dice(results.ranking),
        f"Split {split_source(split)}: {', '.join(parts_in_words(split['counts']))}.",
        *filter(None, [baselines_note(sweep)]),
        *audit_note(run),
        *ending_note(run),
        *filter(None, [pareto_sentence(results.pareto)]),
        results.costs.sentence(),
        *warnings(sweep),
        caveat(sweep),
    ]


def _ranking_table(
    frame: pd.DataFrame, baselines: Sequence[Mapping[str, Any]], width: int
) -> tuple[Table, str]:
    """The table, and a sentence on the columns that there was no room for."""
    rows = [_ranking_cells(row) for row in frame.to_dict("records")]
    last = [_baseline_cells(row) for row in baselines]
    heads = [head for head in RANKING if head != "Expected" or has_expected_dice(frame)]
    cells = {head: [row[head] for row in (*rows, *last)] for head in heads}
    names = frame["arm"].tolist()
    kept, room = fit(cells, names, droppable=("IoU", "Time", "Epochs"), width=width)
    table = bare_table()
    for head in (*LEFT, *kept[len(LEFT) :]):
        table.add_column(head, justify="left" if head in WORDS else "right", no_wrap=True)
        if head == LEFT[-1]:
            table.add_column("Configuration", overflow="fold")
    for row, source in zip(rows, frame.to_dict("records"), strict=True):
        name = _name(source["arm"], source["varied"], room)
        style = {"": "dim", "1": "bold"}.get(row["#"])
        table.add_row(*_in_order(row, kept, name), style=style)
    table.add_section()
    for row, baseline in zip(last, baselines, strict=True):
        table.add_row(*_in_order(row, kept, Text(baseline["name"])), style="dim")
    return table, left_out([head for head in heads if head not in kept], width, "results.csv")


LEFT = ("#", "Trial")  # stand before the name
WORDS = ("Trial", "State")  # columns that are no numbers
RANKING = (*LEFT, "Dice", "Expected", "IoU", "Epochs", "State", "Time")


def _ranking_cells(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "#": "" if pd.isna(row["rank"]) else str(row["rank"]),
        "Trial": row["trial"],
        "Dice": number(row["dice"]),
        "Expected": number(row["expected_dice"]),
        "IoU": number(row["iou"]),
        "Epochs": f"{row['best_epoch']}/{row['epochs']}" if row["epochs"] else "",
        "State": row["state"],
        "Time": duration(row["device_seconds"]),
    }


def _baseline_cells(row: Mapping[str, Any]) -> dict[str, str]:
    scores = {"Dice": number(row["dice"]), "IoU": number(row["iou"])}
    return dict.fromkeys(RANKING, "") | scores


def _in_order(row: Mapping[str, str], kept: Sequence[str], name: Text) -> list[Text]:
    """The cells of a row, with the name behind those of ``LEFT``."""
    cells = [Text(row[head]) for head in kept]
    return [*cells[: len(LEFT)], name, *cells[len(LEFT) :]]


def _name(name: str, varied: str, room: int) -> Text:
    lines = [broken(name, room), *([broken(varied, room)] if varied else [])]
    return Text("\n".join(lines))


def _seed_table(seeds: pd.DataFrame, width: int) -> Table:
    rows = seeds.to_dict("records")
    cells = {
        "Patients": [str(row["patients"]) for row in rows],
        "Seeds": [str(row["seeds"]) for row in rows],
        "Dice": [number(row["dice"]) for row in rows],
        "Lowest": [number(row["dice_low"]) for row in rows],
        "Highest": [number(row["dice_high"]) for row in rows],
        "Best epoch": [f"{row['best_epoch']:.1f}" for row in rows],
    }
    if not seeds["patients"].any():
        del cells["Patients"]
    names = seeds["arm"].tolist()
    kept, room = fit(cells, names, droppable=("Best epoch", "Patients"), width=width)
    table = bare_table()
    table.add_column("Configuration", overflow="fold")
    for head in kept:
        table.add_column(head, justify="right", no_wrap=True)
    for n, row in enumerate(rows):
        name = _name(row["arm"], row["varied"], room)
        table.add_row(name, *(Text(cells[head][n]) for head in kept))
    return table
