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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainseg.analysis import paired, power, variance
from brainseg.analysis.paired import Interval
from brainseg.analysis.power import Further
from brainseg.analysis.scores import Scores, gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.analysis.variance import Floats
from brainseg.records.queries import in_folds
from brainseg.records.run import TrialRecord

MARGIN = 0.02  # of Dice; who is behind by less is good enough
# Of five patients, all that point one way do so by chance in 1 of 16 cases, above 1 in 20.
FEWEST_PATIENTS = 6
SIMULATED = 20  # patients from which on the intervals' coverage was simulated
ALPHA = 1 - paired.LEVEL


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


def compare(run: RunSnapshot, *, margin: float = MARGIN) -> Comparison:
    """Compare the arms of a run that trained each to its last epoch, over folds or over seeds.

    The same run gives the same figures: its random numbers follow from a fixed seed.

    Raises:
        ValueError: the run is a search; it kept no last.csv; it has fewer than two complete arms,
            or too few patients; a margin that is none.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of Dice lies between 0 and 1, got {margin}; 0.02 is usual")
    _refuse_search(run)
    scores = gather(run, folds=in_folds(run.sweep))
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
        folds=in_folds(run.sweep),
        margin=margin,
        notes=(*scores.notes, *_limits(patients, len(scores.seeds), len(standings))),
    )


def _refuse_search(run: RunSnapshot) -> None:
    strategy = run.sweep["strategy"]
    if strategy.get("kind") != "points":
        raise ValueError(
            f"only arms that were trained to their last epoch can be compared, and {run.path} is a "
            f"search, which stops trials early; run `brainseg confirm {run.path}` first"
        )
    if not in_folds(run.sweep) and len(strategy["seeds"]) < 2:
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


def _standings(run: RunSnapshot, scores: Scores) -> tuple[Standing, ...]:
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
        own = variance.parts(gap_SP, fold_P)
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
                further=power.further(own, float(gap_SP.mean()), comparisons=pairs),
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


def _parameters(run: RunSnapshot, group: Sequence[TrialRecord]) -> float:
    """Of the arm's network, as its trials noted it."""
    rows = (row for record in group for row in run.trials[record.trial].rows[:1])
    return float(next((row.parameters for row in rows if row.parameters), math.nan))
