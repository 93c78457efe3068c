"""A comparison in words: answer, table, CSV and terminal."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.comparison import ComparedConfiguration, Comparison
from brainseg.analysis.paired import Interval
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records import queries
from brainseg.records.files import write_text
from brainseg.report import sentences
from brainseg.report.columns import bare_table, broken, fit, left_out

METHOD = (
    "Dice: mean over patients of the mean over seeds, at the last epoch. Intervals are 95 % "
    "intervals from a bootstrap of patients that includes the variance between trainings; those of "
    "differences are not corrected for their number. p: two-sided sign-flip test over patients; "
    "significant: p below 0.05 after Holm's correction over all pairs. P(best) and ranks: over the "
    "bootstrap replicates. Not worse: the one-sided 95 % lower bound of the difference, corrected "
    "for the number of configurations, is above minus the margin."
)
SCOPE = (
    "These results hold for new patients of the same kind, scored by networks trained on these "
    "training sets. Other or larger training sets might order the configurations differently, and "
    "failures too rare to occur among these patients are not included. Where a search chose the "
    "configurations, these scores are the answer, not those of the search: its highest score is "
    "high partly by luck. The search chose on some of these patients."
)


def answer(comparison: Comparison) -> str:
    """Which configuration is best, and which may be as good, in a few sentences."""
    lead, *others = comparison.configurations
    tied = [compared for compared in others if compared.tied]
    where = "out of fold" if comparison.folds else "in validation"
    parts = [
        f"{lead.name} scored highest: mean Dice {lead.dice.mean:.3f} (95 % interval "
        f"{lead.dice.low:.3f} to {lead.dice.high:.3f}) over {comparison.patients} patients {where} "
        f"and {_count(len(comparison.seeds), 'seed')}."
    ]
    if tied:
        names = "; ".join(compared.name for compared in tied)
        parts.append(f"Not significantly different from it: {names}.")
        parts.append(_more_needed(tied[0], len(comparison.seeds)))
    else:
        parts.append("It differs significantly from every other configuration.")
    parts.append(_good_enough(comparison))
    return " ".join(filter(None, parts))


def _more_needed(rival: ComparedConfiguration, seeds: int) -> str:
    """How many more seeds or patients would make the difference to ``rival`` significant."""
    more = rival.more_needed
    ways = [
        _count(n, f"more {what}")
        for n, what in ((more.patients, "patient"), (more.seeds, "seed"))
        if n is not None
    ]
    if not ways:
        return (
            f"The difference to {rival.name} is too small to detect with a realistic number of "
            "seeds or patients."
        )
    only = "; more seeds alone would not" if more.seeds is None and seeds > 1 else ""
    return (
        f"If the difference to {rival.name} is really {-rival.difference.mean:.3f}, as observed, "
        f"{' or '.join(ways)} would make it significant{only}."
    )


def _good_enough(comparison: Comparison) -> str:
    """Which smaller configuration loses little."""
    lead, small = comparison.configurations[0], comparison.smallest
    if small is None:
        return ""
    if lead.parameters == min(compared.parameters for compared in comparison.configurations):
        return "No configuration is smaller."
    if small is lead:
        return f"No smaller configuration is shown to be at most {comparison.margin:g} Dice worse."
    return (
        f"The smallest configuration that is at most {comparison.margin:g} Dice worse is "
        f"{small.name}, with {small.parameters / 1e6:.1f} million parameters instead of "
        f"{lead.parameters / 1e6:.1f}."
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def rows(comparison: Comparison, *, leaks: bool) -> list[dict[str, Any]]:
    """A row a configuration with all its numbers, best first."""
    return [
        {
            "place": place + 1,
            "arm": compared.name,
            "dice": compared.dice.mean,
            **{f"dice_{name}": value for name, value in _bounds(compared.dice)},
            "difference": compared.difference.mean,
            **{f"difference_{name}": value for name, value in _bounds(compared.difference)},
            "p": compared.p,
            "p_holm": compared.p_holm,
            "tied": compared.tied,
            "not_worse_bound": compared.bound,
            "not_worse": comparison.not_worse(place),
            "margin": comparison.margin,
            "rank_low": compared.rank_low,
            "rank_high": compared.rank_high,
            "p_best": compared.first,
            "more_seeds": compared.more_needed.seeds if compared.tied else None,
            "more_patients": compared.more_needed.patients if compared.tied else None,
            "parameters": compared.parameters,
            "device_seconds": compared.device_seconds,
            "seeds": len(comparison.seeds),
            "patients": comparison.patients,
            "leaks": leaks,
        }
        for place, compared in enumerate(comparison.configurations)
    ]


def _bounds(interval: Interval) -> list[tuple[str, float]]:
    return [(name, value) for name, value in asdict(interval).items() if name != "mean"]


def write_comparison(run: RunSnapshot, comparison: Comparison) -> Path:
    """Write compare.csv."""
    path = run.path / "compare.csv"
    table = pd.DataFrame(rows(comparison, leaks=queries.leaks(run.sweep)))
    for name in ("more_seeds", "more_patients"):
        table[name] = table[name].astype("Int64")
    write_text(path, table.to_csv(index=False))
    return path


def print_comparison(run: RunSnapshot, comparison: Comparison, console: Console) -> None:
    """The answer, the table, and what they rest on."""
    console.print(Text(run.sweep["question"], style="bold"))
    console.print(Text(answer(comparison)))
    for warning in (*sentences.warnings(run.sweep), *sentences.file_notes(run)):
        console.print(Text(warning, style="red"))
    table, left = _terminal_table(comparison, console.width)
    console.print(table)
    if left:
        console.print(Text(left, style="dim"))
    for note in comparison.notes:
        console.print(Text(note, style="yellow"))
    for note in (METHOD, SCOPE):
        console.print(Text(note, style="dim"))
    console.print(Text(str(run.path / "compare.csv")), soft_wrap=True)


def _terminal_table(comparison: Comparison, width: int) -> tuple[Table, str]:
    """The table, and a sentence on the columns that there was no room for."""
    configurations = comparison.configurations
    rows = [_cells(place, compared) for place, compared in enumerate(configurations)]
    cells = {head: [row[head] for row in rows] for head in rows[0]}
    names = [compared.name for compared in configurations]
    kept, room = fit(cells, names, droppable=("BCa", "Ranks"), width=width)
    table = bare_table()
    table.add_column("Configuration", overflow="fold")
    for head in kept:
        table.add_column(head, justify="right", no_wrap=True)
    for row, compared in zip(rows, configurations, strict=True):
        texts = [broken(compared.name, room), *(row[head] for head in kept)]
        table.add_row(*map(Text, texts), style="bold" if compared.tied else "dim")
    return table, left_out([head for head in cells if head not in kept], width, "compare.csv")


def _cells(place: int, compared: ComparedConfiguration) -> dict[str, str]:
    """The cells of a row by their heads; the leader has no difference to itself."""
    gap = compared.difference
    cells = {
        "Difference": f"{gap.mean:+.3f}\n{gap.low:+.3f} to {gap.high:+.3f}",
        "BCa": f"\n{gap.bca_low:+.3f} to {gap.bca_high:+.3f}",
        "Holm p": p_words(compared.p_holm) + "\ntied" * compared.tied,
    }
    return {
        "Dice": f"{compared.dice.mean:.3f}",
        **(cells if place else dict.fromkeys(cells, "")),
        "P(best)": f"{compared.first:.2f}",
        "Ranks": ranks(compared),
    }


def p_words(p: float) -> str:
    """p to three decimals; a smaller one is only known to be below 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def ranks(compared: ComparedConfiguration) -> str:
    """The ranks that it has in 95 % of the replicates."""
    low, high = math.floor(compared.rank_low), math.ceil(compared.rank_high)
    return f"{low}" if low == high else f"{low} to {high}"
