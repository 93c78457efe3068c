"""Which configurations may be the best: the confidence set of Edwards and Hsu.

A configuration leaves the set if another one beats it at the one-sided level alpha / (C - 1). The
best configuration, whichever it is, takes part in C - 1 of these tests, so it stays with a
probability of 1 - alpha or more although the data chose the leader. From the same bounds come
simultaneous intervals of each configuration's Dice less that of the best of the others: they hold
for all configurations together.

Sources: Edwards and Hsu (1983), "Multiple comparisons with the best treatment", JASA 78; the
intervals in the form of Hsu (1984), which are cut off at 0.

Shapes: C configurations, S seeds, P patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.analysis.estimate import (
    UNKNOWN,
    Estimate,
    Floats,
    Interval,
    Prior,
    Trainings,
    between_trainings,
    estimate,
    estimates,
)


@dataclass(frozen=True, kw_only=True)
class BestSet:
    """Who may be the best, and how far each configuration may be from the best of the others."""

    may_be_best_C: NDArray[np.bool_]
    to_best: tuple[Interval, ...]  # low <= 0 <= high; ``high`` is 0 outside the set


def pairwise(dice_CSP: Floats, trainings: Trainings) -> list[list[Estimate]]:
    """The difference of each configuration (row) to each (column).

    Of three configurations or more, the variance between trainings of each difference is the mean
    of its own and of that over all pairs: alone it has few degrees of freedom, and where it comes
    out as 0 by chance, equal configurations would be told apart (docs/log.md, 2026-11-30).
    """
    count = len(dice_CSP)
    firsts, seconds = np.triu_indices(count, 1)
    gap_NSP = dice_CSP[firsts] - dice_CSP[seconds]
    prior = UNKNOWN
    if count > 2:
        of_pairs = float(between_trainings(gap_NSP, trainings)[0].mean())
        prior = Prior(training=of_pairs, freedom=trainings.freedom)
    itself = estimate(np.zeros_like(dice_CSP[0]), trainings)
    differences = [[itself] * count for _ in dice_CSP]
    for a, b, gap in zip(firsts, seconds, estimates(gap_NSP, trainings, prior), strict=True):
        differences[a][b], differences[b][a] = gap, replace(gap, mean=-gap.mean)
    return differences


def best_set(differences: Sequence[Sequence[Estimate]], tail: float) -> BestSet:
    """The set that holds the best with a probability of 1 - (C - 1) ``tail`` or more.

    Args:
        differences: of two or more configurations, as ``pairwise`` gives them.
        tail: the one-sided level at which one configuration beats another.
    """
    count = len(differences)
    mean_CC = np.array([[gap.mean for gap in row] for row in differences])
    reach_CC = np.array([[gap.reach(tail) for gap in row] for row in differences])
    own = np.eye(count, dtype=bool)
    highest_C = np.where(own, np.inf, mean_CC + reach_CC).min(1)
    may_be_best_C = highest_C >= 0
    rival_CC = ~own & may_be_best_C
    lowest_C = np.where(rival_CC, mean_CC - reach_CC, np.inf).min(1)
    lowest_C = np.where(rival_CC.any(1), np.minimum(lowest_C, 0.0), 0.0)
    nearest_C = np.where(own, np.inf, mean_CC).min(1)
    to_best = [
        Interval.of_difference(float(mean), float(low), max(float(high), 0.0))
        for mean, low, high in zip(nearest_C, lowest_C, highest_C, strict=True)
    ]
    return BestSet(may_be_best_C=may_be_best_C, to_best=tuple(to_best))
