"""A comparison as files and in the terminal: compare.csv, subgroups.csv, pairs.csv on request."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.comparison import FEWEST_PATIENTS, ComparedConfiguration, Comparison
from brainseg.analysis.pairs import Pair
from brainseg.analysis.scores import LeftRace
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.analysis.subgroups import Subgroup
from brainseg.records import queries
from brainseg.records.files import write_text
from brainseg.report import sentences
from brainseg.report.columns import bare_table, broken, fit, left_out, print_prose
from brainseg.report.comparison import (
    answer,
    details,
    meanings,
    p_words,
    ranks,
    signed,
    span,
    variation,
)

PAIRS = (
    "Every pair: Dice of the first less that of the second, with a 95 % interval of its own. "
    "p: Student's, two-sided; Holm p: corrected for the number of pairs."
)

EXPLORATORY = (
    "Exploratory: nobody chose these groups beforehand, and the 95 % intervals are not corrected "
    "for their number, so about one in twenty leaves out the true value. What differs here is a "
    f"hypothesis for another study. A group of fewer than {FEWEST_PATIENTS} patients has no "
    "interval."
)


def rows(comparison: Comparison, *, leaks: bool) -> list[dict[str, Any]]:
    """A row a configuration with all its numbers, best first; those that left the race last."""
    fixed = {
        "margin": comparison.margin,
        "patients": comparison.patients,
        "folds": comparison.folds,
        "leaks": leaks,
    }
    compared = [_row(comparison, place) for place in range(len(comparison.configurations))]
    return [row | fixed for row in (*compared, *map(_left_row, comparison.left))]


def _row(comparison: Comparison, place: int) -> dict[str, Any]:
    compared, unseen = comparison.configurations[place], comparison.unseen
    failures, further = compared.failures, comparison.further
    rival = further if further and further.rival == compared.name else None
    return {
        "place": place + 1,
        "arm": compared.name,
        "dice": compared.dice.mean,
        "dice_low": compared.dice.low,
        "dice_high": compared.dice.high,
        "may_be_best": compared.may_be_best,
        "may_be_best_unseen": compared.name in unseen.may_be_best if unseen else None,
        "to_best": compared.to_best.mean,
        "to_best_low": compared.to_best.low,
        "to_best_high": compared.to_best.high,
        "not_worse": comparison.not_worse(compared),
        "p_best": compared.first,
        "rank_low": compared.rank_low,
        "rank_high": compared.rank_high,
        "more_patients": rival and rival.patients,
        "more_seeds": rival and rival.seeds,
        "failed": failures.count,
        "failed_low": failures.low,
        "failed_high": failures.high,
        "failed_alone": failures.alone,
        "first_failed_alone": failures.other_alone,
        "failed_p": failures.p,
        "parameters": compared.parameters,
        "device_seconds": compared.device_seconds,
        "seeds": " ".join(map(str, comparison.seeds)),
        "beaten_by": "",
    }


def _left_row(gone: LeftRace) -> dict[str, Any]:
    return {
        "arm": gone.name,
        "dice": gone.dice,
        "may_be_best": False,
        "not_worse": False,
        "seeds": " ".join(map(str, gone.seeds)),
        "beaten_by": gone.by,
        "beaten_difference": gone.difference,
        "beaten_bound": gone.bound,
    }


def write_comparison(run: RunSnapshot, comparison: Comparison) -> Path:
    """Write compare.csv."""
    table = pd.DataFrame(rows(comparison, leaks=queries.leaks(run.sweep)))
    whole = ("place", "more_patients", "more_seeds", "failed", "failed_alone", "first_failed_alone")
    table = table.astype(dict.fromkeys(whole, "Int64"))
    return _write(run, "compare.csv", table)


def write_pairs(run: RunSnapshot, comparison: Comparison) -> Path:
    """Write pairs.csv."""
    lines = [
        {"first": pair.first, "second": pair.second, "difference": pair.difference.mean}
        | {"low": pair.difference.low, "high": pair.difference.high}
        | {"p": pair.p, "p_holm": pair.p_holm}
        for pair in comparison.pairs
    ]
    return _write(run, "pairs.csv", pd.DataFrame(lines))


def write_subgroups(run: RunSnapshot, groups: Sequence[Subgroup]) -> Path:
    """Write subgroups.csv, a row a configuration of each group."""
    lines = [
        {"kind": group.kind, "group": group.name, "patients": group.patients, "arm": score.name}
        | {"dice": score.dice.mean, "dice_low": score.dice.low, "dice_high": score.dice.high}
        | {"difference": score.difference.mean}
        | {"difference_low": score.difference.low, "difference_high": score.difference.high}
        | {"exploratory": "not corrected", "leaks": queries.leaks(run.sweep)}
        for group in groups
        for score in group.scores
    ]
    return _write(run, "subgroups.csv", pd.DataFrame(lines))


def _write(run: RunSnapshot, name: str, table: pd.DataFrame) -> Path:
    path = run.path / name
    write_text(path, table.to_csv(index=False))
    return path


def print_comparison(run: RunSnapshot, comparison: Comparison, console: Console) -> None:
    """The answer, the table, and what they rest on."""
    console.print(Text(run.sweep["question"], style="bold"))
    for paragraph in (answer(comparison), *details(comparison)):
        print_prose(console, paragraph)
    for warning in sentences.warnings(run.sweep):
        console.print(Text(warning, style="red"))
    table, left = _terminal_table(comparison, console.width)
    console.print(table)
    if left:
        console.print(Text(left, style="dim"))
    for note in (*comparison.notes, *sentences.file_notes(run)):
        console.print(Text(note, style="yellow"))
    for head, text in (meanings(comparison) | variation(comparison, run.sweep)).items():
        console.print(Text(f"{head}: {text[0].lower()}{text[1:]}", style="dim"))
    console.print(Text(str(run.path / "compare.csv")), soft_wrap=True)


def _terminal_table(comparison: Comparison, width: int) -> tuple[Table, str]:
    """The table, and a sentence on the columns that there was no room for."""
    rows = [_cells(comparison, compared) for compared in comparison.configurations]
    rows += [dict.fromkeys(rows[0], "") | _left_cells(gone) for gone in comparison.left]
    compared: list[ComparedConfiguration | LeftRace]
    compared = [*comparison.configurations, *comparison.left]
    cells = {head: [row[head] for row in rows] for head in rows[0]}
    droppable = ("Ranks", "Not\nworse", "Failed", "P(best)")
    kept, room = fit(cells, [one.name for one in compared], droppable=droppable, width=width)
    table = bare_table()
    table.add_column("Configuration", overflow="fold")
    for head in kept:
        table.add_column(head, justify="right", no_wrap=True)
    for row, one in zip(rows, compared, strict=True):
        best = isinstance(one, ComparedConfiguration) and one.may_be_best
        texts = [broken(one.name, room), *(row[head] for head in kept)]
        table.add_row(*map(Text, texts), style="bold" if best else "dim")
    return table, left_out([head for head in cells if head not in kept], width, "compare.csv")


def _cells(comparison: Comparison, compared: ComparedConfiguration) -> dict[str, str]:
    """The cells of a row by their heads."""
    gap, lead = compared.to_best, compared is comparison.configurations[0]
    return {
        "Dice": f"{compared.dice.mean:.3f}\n{span(compared.dice.low, compared.dice.high)}",
        "May be\nbest": "yes" if compared.may_be_best else "no",
        "Minus\nbest other": f"{signed(gap.mean)}\n{span(gap.low, gap.high, '+')}",
        "Not\nworse": "yes" if comparison.not_worse(compared) else "not shown",
        "P(best)": f"{compared.first:.2f}",
        "Ranks": ranks(compared),
        "Failed": f"{compared.failures.count} of {comparison.patients}"
        + ("" if lead else f"\n{p_words(compared.failures.p)}"),
    }


def _left_cells(gone: LeftRace) -> dict[str, str]:
    return {
        "Dice": f"{gone.dice:.3f}",
        "May be\nbest": "left",
        "Minus\nbest other": f"{signed(gone.difference)}\nat most {signed(gone.bound)}",
    }


def print_pairs(run: RunSnapshot, comparison: Comparison, console: Console) -> None:
    """Every pair with its difference, interval and p-values."""
    table = bare_table()
    table.add_column("Pair", overflow="fold")
    for head in ("Difference", "95 % interval", "p", "Holm p"):
        table.add_column(head, justify="right", no_wrap=True)
    for pair in comparison.pairs:
        table.add_row(*map(Text, _pair_cells(pair)))
    console.print(table)
    console.print(Text(PAIRS, style="dim"))
    console.print(Text(str(run.path / "pairs.csv")), soft_wrap=True)


def _pair_cells(pair: Pair) -> Iterator[str]:
    yield f"{pair.first}\n  less {pair.second}"
    yield signed(pair.difference.mean)
    yield span(pair.difference.low, pair.difference.high, "+")
    yield p_words(pair.p).removeprefix("p ")
    yield p_words(pair.p_holm).removeprefix("p ")
