"""Which configuration is best after confirmation, and which do not differ significantly from it.

Configurations are compared on the Dice of the last epoch (last.csv), which no score chose, over the
patients and the seeds that all of them have. The scores of the search are not used: the highest of
many scores is high partly by luck (the winner's curse), and luck does not repeat.

The leader is the configuration with the highest mean. Since the same scores chose it, a difference
to it counts as significant only after Holm's correction over all pairs of configurations, not over
those with the leader alone.

Shapes: C configurations, S seeds, P patients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainseg.analysis import paired, power, variance
from brainseg.analysis.paired import FEWEST_PATIENTS, Interval
from brainseg.analysis.power import SampleSize
from brainseg.analysis.scores import Scores, gather
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.analysis.variance import Floats
from brainseg.records.queries import fold_count
from brainseg.records.run import TrialRecord

MARGIN = 0.02  # of Dice; a configuration behind by less is good enough
SIMULATED = 20  # patients from which on the intervals' coverage was simulated
ALPHA = 1 - paired.LEVEL


@dataclass(frozen=True, kw_only=True)
class ComparedConfiguration:
    """A configuration among the others; differences are its Dice minus the leader's."""

    name: str
    dice: Interval
    difference: Interval  # zero for the leader
    p: float  # NaN for the leader; so is p_holm
    p_holm: float
    bound: float  # the corrected one-sided lower bound of the difference
    rank_low: float
    rank_high: float
    first: float  # share of replicates in which it is first
    more_needed: SampleSize  # for a significant difference to the leader
    parameters: float  # NaN if not recorded
    device_seconds: float

    @property
    def tied(self) -> bool:
        """Whether it is the leader, or does not differ from it significantly."""
        return not self.p_holm < ALPHA


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every configuration, best first."""

    configurations: tuple[ComparedConfiguration, ...]
    seeds: tuple[int, ...]
    patients: int
    folds: int  # 0: the validation patients of one split
    margin: float
    notes: tuple[str, ...]

    def not_worse(self, place: int) -> bool:
        """Whether the configuration at ``place`` is shown to be at most ``margin`` behind."""
        return place == 0 or self.configurations[place].bound > -self.margin

    @property
    def smallest(self) -> ComparedConfiguration | None:
        """The not worse one with the fewest parameters; None where some size is not recorded."""
        if any(math.isnan(compared.parameters) for compared in self.configurations):
            return None
        good = [c for place, c in enumerate(self.configurations) if self.not_worse(place)]
        return min(good, key=lambda compared: compared.parameters)


def compare(run: RunSnapshot, *, margin: float = MARGIN) -> Comparison:
    """Compare the configurations of a run that trained each over folds or over seeds.

    The same run gives the same figures: its random numbers follow from a fixed seed.

    Raises:
        ValueError: the run is a search; it kept no last.csv; it has fewer than two complete
            configurations, or too few patients; a margin outside 0 to 1.
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of Dice lies between 0 and 1, got {margin}; 0.02 is usual")
    _refuse_search(run)
    folds = fold_count(run.sweep)
    scores = gather(run, folds=folds)
    patients = len(scores.fold_P)
    if patients < FEWEST_PATIENTS:
        raise ValueError(
            f"a comparison takes {FEWEST_PATIENTS} or more patients, since with fewer no "
            f"difference can be significant at 5 %, and {run.path} has {patients}; confirm over "
            "folds, or validate on more patients"
        )
    configurations = _configurations(run, scores)
    return Comparison(
        configurations=configurations,
        seeds=scores.seeds,
        patients=patients,
        folds=folds,
        margin=margin,
        notes=(*scores.notes, *_limits(patients, len(scores.seeds), len(configurations))),
    )


def _refuse_search(run: RunSnapshot) -> None:
    strategy = run.sweep["strategy"]
    if strategy.get("kind") != "points":
        raise ValueError(
            f"only configurations that were trained to their last epoch can be compared, and "
            f"{run.path} is a search, which stops trials early; run `brainseg confirm {run.path}` "
            "first"
        )
    if not fold_count(run.sweep) and len(strategy["seeds"]) < 2:
        raise ValueError(
            f"a comparison without folds takes two or more seeds, {run.path} has "
            f"{len(strategy['seeds'])}; run it with --seeds 0,1,2, or `brainseg confirm {run.path}`"
        )


def _limits(patients: int, seeds: int, configurations: int) -> list[str]:
    """What so few patients or seeds cannot show."""
    notes = []
    if patients < SIMULATED:
        notes.append(
            f"{patients} patients: the coverage of the intervals was simulated for {SIMULATED} "
            "patients and more."
        )
    if 2 ** (1 - patients) * math.comb(configurations, 2) >= ALPHA:
        notes.append(
            f"With {patients} patients and {configurations} configurations no difference can be "
            "significant."
        )
    if seeds == 1:
        notes.append("One seed only: variation between seeds is not included.")
    return notes


def _configurations(run: RunSnapshot, scores: Scores) -> tuple[ComparedConfiguration, ...]:
    """Every configuration against the one with the highest mean."""
    rng = np.random.default_rng(0)
    dice_CSP, fold_P = scores.dice_CSP, scores.fold_P
    share_RP = paired.resamples(rng, len(fold_P))
    stable = paired.stability(dice_CSP, fold_P, share_RP, rng)
    p_CC, holm_CC = _p_values(dice_CSP, fold_P, rng)
    order = np.argsort(-dice_CSP.mean((1, 2)), kind="stable")
    lead, pairs = order[0], math.comb(len(order), 2)
    level = 1 - ALPHA / (len(order) - 1)
    compared = []
    for c in order:
        gap_SP = dice_CSP[c] - dice_CSP[lead]
        components = variance.components(gap_SP, fold_P)
        compared.append(
            ComparedConfiguration(
                name=scores.names[c],
                dice=paired.interval(dice_CSP[c], fold_P, share_RP, rng).within(0, 1),
                difference=paired.interval(gap_SP, fold_P, share_RP, rng),
                p=p_CC[c, lead],
                p_holm=holm_CC[c, lead],
                bound=paired.lower_bound(gap_SP, fold_P, share_RP, rng, level=level),
                rank_low=stable.rank_low_C[c],
                rank_high=stable.rank_high_C[c],
                first=stable.first_C[c],
                more_needed=power.more_needed(components, float(gap_SP.mean()), comparisons=pairs),
                parameters=_parameters(run, scores.groups[c]),
                device_seconds=sum(record.device_seconds for record in scores.groups[c]),
            )
        )
    return tuple(compared)


def _p_values(
    dice_CSP: Floats, fold_P: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """p of each pair of configurations, then after Holm's correction; NaN on the diagonal."""
    pairs = list(combinations(range(len(dice_CSP)), 2))
    sign_RP = paired.signs(rng, len(fold_P))
    p = np.array(
        [paired.flip_test(dice_CSP[a] - dice_CSP[b], fold_P, sign_RP, rng) for a, b in pairs]
    )
    tables = []
    for values in (p, paired.holm(p)):
        table_CC = np.full((len(dice_CSP), len(dice_CSP)), math.nan)
        for (a, b), value in zip(pairs, values, strict=True):
            table_CC[a, b] = table_CC[b, a] = value
        tables.append(table_CC)
    return tables[0], tables[1]


def _parameters(run: RunSnapshot, group: Sequence[TrialRecord]) -> float:
    """Parameters of the configuration's network, as its trials recorded them."""
    rows = (row for record in group for row in run.trials[record.trial].rows[:1])
    return float(next((row.parameters for row in rows if row.parameters), math.nan))
