"""Who is best after confirmation, who cannot be told from it, and what would tell them apart.

Arms are compared on the Dice of the last epoch (last.csv), which nobody chose, over the patients
and the seeds that all of them have. The scores of the search are not used: the best of many scored
highest partly by luck (the winner's curse), and luck does not come again.

The leader is the arm with the highest mean. Since the same scores chose it, a difference to it is
told only if it stands after Holm's correction over all pairs of arms, not over those with the
leader alone.

Shapes: A arms, S seeds, P patients.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainseg.analysis import paired
from brainseg.analysis.arms import in_folds
from brainseg.analysis.paired import Floats, Further, Interval
from brainseg.analysis.scores import Scores, gather
from brainseg.records.run import Run, TrialRecord, read_json, write_text
from brainseg.report import results

MARGIN = 0.02  # of Dice; who is behind by less is good enough
# Of five patients, all that point one way do so by chance in 1 of 16 cases, above 1 in 20.
FEWEST_PATIENTS = 6
SIMULATED = 20  # patients from which on the intervals' coverage was simulated
ALPHA = 1 - paired.LEVEL
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


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm among the others; differences are this arm's Dice less the leader's."""

    arm: str
    dice: Interval
    difference: Interval  # zero for the leader
    p: float  # NaN for the leader; so are those below
    p_holm: float
    bound: float  # the corrected one-sided lower bound of the difference
    rank_low: float
    rank_high: float
    first: float  # share of replicates in which it is first
    further: Further
    parameters: float  # NaN if not recorded
    device_seconds: float

    @property
    def tied(self) -> bool:
        """Whether it cannot be told from the leader, which it may be itself."""
        return not self.p_holm < ALPHA


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every arm, best first."""

    standings: tuple[Standing, ...]
    seeds: tuple[int, ...]
    patients: int
    folds: int  # 0: the validation patients of one split
    margin: float
    notes: tuple[str, ...]

    @property
    def smallest(self) -> Standing | None:
        """The arm of fewest parameters that is not worse; None where no size is recorded."""
        good = [one for n, one in enumerate(self.standings) if n == 0 or one.bound > -self.margin]
        if any(math.isnan(one.parameters) for one in self.standings):
            return None
        return min(good, key=lambda one: one.parameters)


def compare(run: Run, *, margin: float = MARGIN) -> Comparison:
    """Compare the arms of a run that trained each to its last epoch, over folds or over seeds.

    The same run gives the same figures: its random numbers follow from a fixed seed.

    Raises:
        ValueError: the run is a search; it kept no last.csv; it has fewer than two complete arms,
            or too few patients; a margin that is none.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of Dice lies between 0 and 1, got {margin}; 0.02 is usual")
    sweep = read_json(run.sweep)
    _refuse_search(run, sweep)
    scores = gather(run, folds=in_folds(sweep))
    patients = len(scores.fold_P)
    if patients < FEWEST_PATIENTS:
        raise ValueError(
            f"a comparison takes {FEWEST_PATIENTS} or more patients, fewer cannot tell anything at "
            f"5 %, and {run.path} has {patients}; confirm over folds, or validate on more"
        )
    standings = _standings(run, scores)
    return Comparison(
        standings=standings,
        seeds=scores.seeds,
        patients=patients,
        folds=in_folds(sweep),
        margin=margin,
        notes=(*scores.notes, *_limits(patients, len(scores.seeds), len(standings))),
    )


def _refuse_search(run: Run, sweep: Mapping[str, Any]) -> None:
    strategy = sweep["strategy"]
    if strategy.get("kind") != "points":
        raise ValueError(
            f"only arms that were trained to their last epoch can be compared, and {run.path} is a "
            f"search, which stops trials early; run `brainseg confirm {run.path}` first"
        )
    if not in_folds(sweep) and len(strategy["seeds"]) < 2:
        raise ValueError(
            f"a comparison without folds takes two or more seeds, {run.path} has "
            f"{len(strategy['seeds'])}; run it with --seeds 0,1,2, or `brainseg confirm {run.path}`"
        )


def _limits(patients: int, seeds: int, arms: int) -> list[str]:
    """What so few patients or seeds cannot tell."""
    notes = []
    if patients < SIMULATED:
        notes.append(
            f"{patients} patients: that the intervals hold the truth as often as they say was "
            f"simulated from {SIMULATED} patients on."
        )
    if 2 ** (1 - patients) * math.comb(arms, 2) >= ALPHA:
        notes.append(f"With {patients} patients and {arms} arms no pair can be told apart.")
    if seeds == 1:
        notes.append("One seed: what another would change is not in the intervals.")
    return notes


def _standings(run: Run, scores: Scores) -> tuple[Standing, ...]:
    """Every arm against the one with the highest mean."""
    rng = np.random.default_rng(0)
    dice_ASP, fold_P = scores.dice_ASP, scores.fold_P
    share_RP = paired.resamples(rng, len(fold_P))
    stable = paired.stability(dice_ASP, fold_P, share_RP, rng)
    p_AA, holm_AA = _p_values(dice_ASP, fold_P, rng)
    order = np.argsort(-dice_ASP.mean((1, 2)), kind="stable")
    lead, pairs = order[0], math.comb(len(order), 2)
    level = 1 - ALPHA / (len(order) - 1)
    standings = []
    for a in order:
        gap_SP = dice_ASP[a] - dice_ASP[lead]
        own = paired.parts(gap_SP, fold_P)
        standings.append(
            Standing(
                arm=scores.words[a],
                dice=paired.interval(dice_ASP[a], fold_P, share_RP, rng).within(0, 1),
                difference=paired.interval(gap_SP, fold_P, share_RP, rng),
                p=p_AA[a, lead],
                p_holm=holm_AA[a, lead],
                bound=paired.lower_bound(gap_SP, fold_P, share_RP, rng, level=level),
                rank_low=stable.rank_low_A[a],
                rank_high=stable.rank_high_A[a],
                first=stable.first_A[a],
                further=paired.further(own, float(gap_SP.mean()), comparisons=pairs),
                parameters=_parameters(run, scores.arms[a]),
                device_seconds=sum(record.device_seconds for record in scores.arms[a]),
            )
        )
    return tuple(standings)


def _p_values(
    dice_ASP: Floats, fold_P: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """p of each pair of arms, and the same after Holm's correction; NaN on the diagonal."""
    pairs = list(combinations(range(len(dice_ASP)), 2))
    sign_RP = paired.signs(rng, len(fold_P))
    p = np.array(
        [paired.flip_test(dice_ASP[a] - dice_ASP[b], fold_P, sign_RP, rng) for a, b in pairs]
    )
    tables = []
    for values in (p, paired.holm(p)):
        table_AA = np.full((len(dice_ASP), len(dice_ASP)), math.nan)
        for (a, b), value in zip(pairs, values, strict=True):
            table_AA[a, b] = table_AA[b, a] = value
        tables.append(table_AA)
    return tables[0], tables[1]


def _parameters(run: Run, group: Sequence[TrialRecord]) -> float:
    """Of the arm's network, as its trials noted it."""
    rows = (row for record in group for row in run.trial(record.trial).rows()[:1])
    return float(next((row["parameters"] for row in rows if "parameters" in row), math.nan))


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


def write_comparison(run: Run, found: Comparison) -> Path:
    """Write compare.csv."""
    path = run.path / "compare.csv"
    table = pd.DataFrame(rows(found, leaks=results.leaks(read_json(run.sweep))))
    for name in ("more_seeds", "more_patients"):
        table[name] = table[name].astype("Int64")
    write_text(path, table.to_csv(index=False))
    return path


def print_comparison(run: Run, found: Comparison, console: Console) -> None:
    """The answer, the table, and what it rests on."""
    sweep = read_json(run.sweep)
    console.print(Text(sweep["question"], style="bold"))
    console.print(Text(answer(found)))
    for warning in results.warnings(sweep):
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
