"""A claimed difference between two configurations of a run, with its interval.

Dice is that of the last epoch, by the comparison's own estimator (``best_set.pairwise``), on the
seeds and the patients that all complete configurations have. What is measured on curves is paired
by training, and its interval is Student's over trainings.

Shapes: C configurations, S seeds, P patients, T trainings.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import numpy as np

from brainseg.analysis.best_set import pairwise
from brainseg.analysis.claims.curves import SHARE, convergence, over_trainings, roughness
from brainseg.analysis.comparison import FEWEST_PATIENTS
from brainseg.analysis.estimate import LEVEL, Estimate, Trainings
from brainseg.analysis.scores import Scores
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.claims import Best, Claim, Faster, Point, Rougher, Worst
from brainseg.config.points import too_few_trainings
from brainseg.records.queries import by_configuration, fold_count
from brainseg.records.run import TrialRecord

TAIL = (1 - LEVEL) / 2  # how often a claim may be supported wrongly, and how often refuted
# What is compared for each kind of claim, and how it is written.
MEASURES: dict[type[Claim], tuple[str, str]] = {
    Best: ("mean Dice at the last epoch", ".3f"),
    Worst: ("mean Dice at the last epoch", ".3f"),
    Faster: (f"epochs to {100 * SHARE:.0f} % of the lower Dice of the second half", ".1f"),
    Rougher: ("mean change of Dice per epoch in the second half", ".4f"),
}
SIGNS: dict[type[Claim], int] = {Best: 1, Worst: -1, Faster: -1, Rougher: 1}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Trials that differ in their seed and their fold alone."""

    name: str
    place: int  # among those of ``Scores``
    records: tuple[TrialRecord, ...]

    def trial(self, seed: int, fold: int) -> str:
        """The name of its trial with this seed and fold."""
        return next(
            record.trial
            for record in self.records
            if (record.params["seed"], record.params.get("fold", 0)) == (seed, fold)
        )


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A configuration beside a rival, in one measure; ``low`` and ``high`` bound the difference."""

    configuration: Configuration
    rival: Configuration
    ours: tuple[float, ...]  # a value a seed; so are theirs
    theirs: tuple[float, ...]
    sign: int  # of the difference, ours - theirs, if the claim holds
    low: float  # of the interval; NaN where there is none
    high: float
    patients: int  # 0 for what is measured on curves
    lacks: str = ""  # why there is no interval

    @property
    def difference(self) -> float:
        return fmean(self.ours) - fmean(self.theirs) if self.ours else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the whole interval lies on the claimed side of zero."""
        return min(self.sign * self.low, self.sign * self.high) > 0

    @property
    def opposes(self) -> bool:
        """Whether the whole interval lies on the other side."""
        return max(self.sign * self.low, self.sign * self.high) < 0


@dataclass(frozen=True, eq=False)
class Study:
    """What the claims of a run are judged on."""

    run: RunSnapshot
    scores: Scores

    @cached_property
    def configurations(self) -> list[Configuration]:
        """The complete ones."""
        named = zip(self.scores.names, self.scores.groups, strict=True)
        return [
            Configuration(name=name, place=place, records=group)
            for place, (name, group) in enumerate(named)
        ]

    @property
    def trainings(self) -> Trainings:
        return Trainings(self.scores.fold_SP)

    @cached_property
    def differences(self) -> list[list[Estimate]]:
        """Of each configuration's Dice to that of each."""
        return pairwise(self.scores.dice_CSP, self.trainings)

    @property
    def folds(self) -> int:
        return fold_count(self.run.sweep)

    @property
    def lacks(self) -> str:
        """Why its trainings allow no interval; "" if they do."""
        return too_few_trainings(self.folds, self.scores.seeds)

    @cached_property
    def asked(self) -> int:
        """How many configurations the sweep is to train."""
        started = by_configuration([record for record in self.run.records if record.params])
        listed: list[Point] = self.run.sweep.get("first", [])
        return max(len(listed), len(started))

    def curves(self, configuration: Configuration) -> list[list[float]]:
        """The validation Dice after each epoch of each training, by seed and fold."""
        names = [
            configuration.trial(seed, fold)
            for seed in self.scores.seeds
            for fold in range(max(self.folds, 1))
        ]
        return [[row.dice for row in self.run.trials[name].rows] for name in names]


def contrast(
    study: Study, claim: Claim, ours: Configuration, rival: Configuration, *, comparisons: int
) -> Contrast:
    """The two in the claim's measure.

    Args:
        comparisons: how many the claim makes. Each may refute it, so that bound is corrected.
    """
    if on_dice := isinstance(claim, Best | Worst):
        own_S, other_S, gap, lacks = _dice(study, ours, rival)
    else:
        measure = convergence if isinstance(claim, Faster) else _both_rough
        own_S, other_S, gap, lacks = _on_curves(study, ours, rival, measure)
    sign, low, high = SIGNS[type(claim)], math.nan, math.nan
    if not lacks:
        agreeing, opposing = gap.reach(TAIL), gap.reach(TAIL / comparisons)
        below, above = (agreeing, opposing) if sign > 0 else (opposing, agreeing)
        low, high = gap.mean - below, gap.mean + above
        if on_dice:
            low, high = max(low, -1.0), min(high, 1.0)
    return Contrast(
        configuration=ours,
        rival=rival,
        ours=own_S,
        theirs=other_S,
        sign=sign,
        low=low,
        high=high,
        patients=study.trainings.patients if on_dice else 0,
        lacks=lacks,
    )


# A value a seed of either configuration, their difference, why it has no interval.
Measured = tuple[tuple[float, ...], tuple[float, ...], Estimate, str]


def _dice(study: Study, ours: Configuration, rival: Configuration) -> Measured:
    mean_CS = study.scores.dice_CSP.mean(2)
    lacks = study.lacks
    if (patients := study.trainings.patients) < FEWEST_PATIENTS:
        lacks = f"it takes {FEWEST_PATIENTS} patients or more, there are {patients}"
    own_S, other_S = (tuple(mean_CS[c.place].tolist()) for c in (ours, rival))
    return own_S, other_S, study.differences[ours.place][rival.place], lacks


def _on_curves(
    study: Study,
    ours: Configuration,
    rival: Configuration,
    measure: Callable[[Sequence[float], Sequence[float]], tuple[float, float]],
) -> Measured:
    """``measure`` takes two curves of the same seed and fold and gives a number for each."""
    curves = zip(study.curves(ours), study.curves(rival), strict=True)
    value_T2 = np.array([measure(own, other) for own, other in curves])
    gap = over_trainings(value_T2[:, 0] - value_T2[:, 1])
    if np.isnan(value_T2).any():
        return (), (), gap, "a curve is too short or never leaves 0"
    own_S, other_S = value_T2.reshape(len(study.scores.seeds), -1, 2).mean(1).T
    return tuple(own_S.tolist()), tuple(other_S.tolist()), gap, study.lacks


def _both_rough(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    return roughness(ours), roughness(theirs)
