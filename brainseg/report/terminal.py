"""The ranking in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.pareto import sentence as pareto_sentence
from brainseg.records.queries import fold_count
from brainseg.report.formatting import duration, number
from brainseg.report.results import Results, baseline_rows
from brainseg.report.sentences import (
    answer,
    audit_note,
    baselines_note,
    doubt,
    doubted,
    ending_note,
    expects,
    parts,
    split_source,
    warnings,
)
from brainseg.search.expected_dice import EXPECTED


def print_ranking(results: Results, console: Console) -> None:
    """The answer, the ranking as a table, and below it what its figures mean."""
    sweep, frame, run = results.sweep, results.ranking, results.run
    console.print(Text(sweep["question"], style="bold"))
    console.print(Text(answer(results)))
    if sentence := doubted(results):
        console.print(Text(sentence))
    trials = [_terminal_table(frame, baseline_rows(sweep))] if len(frame) else []
    seeds = [_seed_table(means)] if len(means := results.over_seeds) else []
    for table in (*seeds, *trials) if fold_count(sweep) else (*trials, *seeds):
        console.print(table)
    for row in frame[frame["state"] == "failed"].to_dict("records"):
        console.print(Text(f"{row['trial']} failed: {row['reason']}", style="red"))
    for note in _notes(results):
        console.print(Text(note, style="dim"))
    for path in filter(Path.exists, (run.report, run.results)):
        console.print(Text(str(path)), soft_wrap=True)


def _notes(results: Results) -> list[str]:
    run, sweep, split = results.snapshot, results.sweep, results.sweep["split"]
    params = [record.params for record in run.records if record.params] or [sweep["base"]]
    sides = sorted({settings["image_size"] for settings in params})
    pixels = " or ".join(f"{side}x{side}" for side in sides)
    return [
        f"Dice: mean over the validation patients of each one's volume Dice, at {pixels} pixels.",
        *[f"Expected: {EXPECTED[:1].lower()}{EXPECTED[1:]}"] * expects(results.ranking),
        f"Split {split_source(split)}: {', '.join(parts(split))}.",
        baselines_note(sweep),
        *audit_note(run),
        *ending_note(run),
        *filter(None, [pareto_sentence(results.pareto)]),
        results.costs.sentence(),
        *warnings(sweep),
        doubt(sweep),
    ]


def _terminal_table(frame: pd.DataFrame, baselines: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    expected = ["Expected"] * expects(frame)
    for name in ("#", "Trial", "Model", "Dice", *expected, "IoU", "Epochs", "State", "Time"):
        right = name in ("#", "Dice", *expected, "IoU", "Epochs", "Time")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "Model")
    for row in frame.to_dict("records"):
        place = "" if pd.isna(row["rank"]) else str(row["rank"])
        cells = [
            place,
            row["trial"],
            f"{row['arm']}\n{row['varied']}".rstrip(),
            number(row["dice"]),
            *([number(row["expected_dice"])] if expected else []),
            number(row["iou"]),
            f"{row['best_epoch']}/{row['epochs']}" if row["epochs"] else "",
            row["state"],
            duration(row["device_seconds"]),
        ]
        table.add_row(*map(Text, cells), style={"": "dim", "1": "bold"}.get(place))
    table.add_section()
    for baseline in baselines:
        scores = (number(baseline["dice"]), *("" for _ in expected), number(baseline["iou"]))
        table.add_row("", "", baseline["name"], *scores, style="dim")
    return table


def _seed_table(seeds: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    patients = ["Patients"] if seeds["patients"].any() else []
    for name in ("Model", *patients, "Seeds", "Dice", "Lowest", "Highest", "Best epoch"):
        table.add_column(name, justify="left" if name == "Model" else "right")
    for row in seeds.to_dict("records"):
        cells = [
            f"{row['arm']}\n{row['varied']}".rstrip(),
            *([str(row["patients"])] if patients else []),
            str(row["seeds"]),
            number(row["dice"]),
            number(row["dice_low"]),
            number(row["dice_high"]),
            f"{row['best_epoch']:.1f}",
        ]
        table.add_row(*map(Text, cells))
    return table
