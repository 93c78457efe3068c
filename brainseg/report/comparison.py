"""A comparison in words: answer, table, CSV and terminal."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis.comparison import Comparison, Standing
from brainseg.analysis.paired import Interval
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records import queries
from brainseg.records.files import write_text
from brainseg.report import sentences

METHOD = (
    "Dice: mean over patients of the mean over seeds, at the last epoch. Intervals are of 95 %, "
    "from a bootstrap of patients with the variance between trainings in it; those of differences "
    "are not corrected for their number. p: sign-flip test over patients, two-sided; told: p "
    "below 0.05 after Holm's correction over all pairs. P(best) and ranks: over the bootstrap's "
    "replicates. Not worse: the one-sided 95 % lower bound of the difference, corrected for the "
    "number of arms, is above minus the margin."
)
SCOPE = (
    "This speaks of new patients of the same kind, scored by networks trained on these training "
    "sets. Other training sets, or larger ones, might order the arms otherwise; failures too rare "
    "to be among these patients are not in it. Where a search chose the arms, these scores are the "
    "answer, not the search's, whose best is partly luck; it chose on some of these patients."
)


def answer(found: Comparison) -> str:
    """Who is best and who is tied, in a few honest sentences."""
    lead, *others = found.standings
    tied = [one for one in others if one.tied]
    where = "held out in turn" if found.folds else "in validation"
    said = [
        f"{lead.arm} scored highest: mean Dice {lead.dice.mean:.3f} (95 % interval "
        f"{lead.dice.low:.3f} to {lead.dice.high:.3f}) over {found.patients} patients {where} and "
        f"{_count(len(found.seeds), 'seed')}."
    ]
    if tied:
        said.append(f"{'; '.join(one.arm for one in tied)}: cannot be told from it.")
        said.append(_told_by(tied[0], len(found.seeds)))
    else:
        said.append("It can be told from every other arm.")
    said.append(_good_enough(found))
    return " ".join(filter(None, said))


def _told_by(rival: Standing, seeds: int) -> str:
    """What it would take to tell the two."""
    more = rival.further
    ways = [
        _count(n, f"more {what}")
        for n, what in ((more.patients, "patient"), (more.seeds, "seed"))
        if n is not None
    ]
    if not ways:
        return f"No sensible number of seeds or patients would tell it from {rival.arm}."
    alone = ", which more seeds alone could not" if more.seeds is None and seeds > 1 else ""
    return (
        f"If {rival.arm} is behind by as much as it looks, {-rival.difference.mean:.3f}, "
        f"{' (or '.join(ways)}{')' * (len(ways) - 1)} would separate the two{alone}."
    )


def _good_enough(found: Comparison) -> str:
    lead, small = found.standings[0], found.smallest
    if small is None:
        return ""
    if lead.parameters == min(one.parameters for one in found.standings):
        return "No arm is smaller."
    if small is lead:
        return f"No smaller arm is shown to be not worse by more than {found.margin:g}."
    return (
        f"The smallest arm that is not worse by more than {found.margin:g} is {small.arm}, with "
        f"{small.parameters / 1e6:.1f} million parameters against {lead.parameters / 1e6:.1f}."
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def rows(found: Comparison, *, leaks: bool) -> list[dict[str, Any]]:
    """A row an arm with all its numbers, best first."""
    return [
        {
            "place": place,
            "arm": one.arm,
            "dice": one.dice.mean,
            **{f"dice_{name}": value for name, value in _bounds(one.dice)},
            "difference": one.difference.mean,
            **{f"difference_{name}": value for name, value in _bounds(one.difference)},
            "p": one.p,
            "p_holm": one.p_holm,
            "tied": one.tied,
            "not_worse_bound": one.bound,
            "not_worse": place == 1 or one.bound > -found.margin,
            "margin": found.margin,
            "rank_low": one.rank_low,
            "rank_high": one.rank_high,
            "p_best": one.first,
            "more_seeds": one.further.seeds if one.tied else None,
            "more_patients": one.further.patients if one.tied else None,
            "parameters": one.parameters,
            "device_seconds": one.device_seconds,
            "seeds": len(found.seeds),
            "patients": found.patients,
            "leaks": leaks,
        }
        for place, one in enumerate(found.standings, start=1)
    ]


def _bounds(own: Interval) -> list[tuple[str, float]]:
    return [(name, value) for name, value in asdict(own).items() if name != "mean"]


def write_comparison(run: RunSnapshot, found: Comparison) -> Path:
    """Write compare.csv."""
    path = run.path / "compare.csv"
    table = pd.DataFrame(rows(found, leaks=queries.leaks(run.sweep)))
    for name in ("more_seeds", "more_patients"):
        table[name] = table[name].astype("Int64")
    write_text(path, table.to_csv(index=False))
    return path


def print_comparison(run: RunSnapshot, found: Comparison, console: Console) -> None:
    """The answer, the table, and what it rests on."""
    console.print(Text(run.sweep["question"], style="bold"))
    console.print(Text(answer(found)))
    for warning in sentences.warnings(run.sweep):
        console.print(Text(warning, style="red"))
    console.print(_terminal_table(found))
    for note in found.notes:
        console.print(Text(note, style="yellow"))
    for note in (METHOD, SCOPE):
        console.print(Text(note, style="dim"))
    console.print(Text(str(run.path / "compare.csv")), soft_wrap=True)


def _terminal_table(found: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("Model", "Dice", "Less the first", "BCa", "Holm p", "P(best)", "Ranks"):
        table.add_column(name, justify="left" if name == "Model" else "right")
    for place, one in enumerate(found.standings):
        cells = [one.arm, f"{one.dice.mean:.3f}", *("", "", "")]
        if place:
            gap = one.difference
            cells[2:] = [
                f"{gap.mean:+.3f}\n{gap.low:+.3f} to {gap.high:+.3f}",
                f"\n{gap.bca_low:+.3f} to {gap.bca_high:+.3f}",
                p_words(one.p_holm) + "\ntied" * one.tied,
            ]
        cells += [f"{one.first:.2f}", ranks(one)]
        table.add_row(*map(Text, cells), style="bold" if one.tied else "dim")
    return table


def p_words(p: float) -> str:
    """To three digits; what is below is only known to be."""
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def ranks(one: Standing) -> str:
    """Between which ranks it lies in 95 % of the replicates."""
    low, high = math.floor(one.rank_low), math.ceil(one.rank_high)
    return f"{low}" if low == high else f"{low} to {high}"
