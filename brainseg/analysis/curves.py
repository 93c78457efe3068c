"""What a learning curve converges to, how fast, and how rough it is."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, variance

SHARE = 0.9  # of the lower best Dice; who reached it has converged
# Degrees of freedom and Student's t for a two-sided 95 % interval.
DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 60, 120)
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.179, 2.131,
           2.086, 2.042, 2.000, 1.980)  # fmt: skip


def convergence(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The epochs, counted from 1, at which two curves converge; NaN if one never leaves 0."""
    level = SHARE * min(max(ours, default=0.0), max(theirs, default=0.0))
    return first_epoch(ours, level), first_epoch(theirs, level)


def first_epoch(dice: Sequence[float], level: float) -> float:
    """The first epoch, counted from 1, whose Dice is ``level`` or more; NaN for a level of 0."""
    reached = (epoch for epoch, value in enumerate(dice, start=1) if value >= level)
    return next(reached, math.nan) if level > 0 else math.nan


def roughness(dice: Sequence[float]) -> float:
    """Mean absolute change from epoch to epoch in the second half; NaN below three epochs.

    The second half of n epochs are the last ceil(n / 2), and a change lies between two of them.
    """
    steps = [abs(later - sooner) for sooner, later in pairwise(dice[len(dice) // 2 :])]
    return fmean(steps) if steps else math.nan


def interval(gaps: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % interval of the mean of differences that have a row a seed and a column a patient.

    The variance of the mean is that over the patients' means plus that over the seeds', which
    counts what is left over twice and so errs towards caution; an axis of length one adds nothing.
    Student's t has Satterthwaite's (1946) degrees of freedom, rounded down to the table's. In
    simulations (``benchmarks/intervals.py``; 6 to 100 patients) it held the truth in 92 to 97 of
    100 with 1, 3 or 5 seeds, in 88 to 97 with two.
    """
    axes = [[fmean(row) for row in gaps], [fmean(column) for column in zip(*gaps, strict=True)]]
    shares = [(variance(means) / len(means), len(means) - 1) for means in axes if len(means) > 1]
    middle, total = fmean(axes[0]), sum(share for share, _ in shares)
    if not total:
        return middle, middle
    degrees = total**2 / sum(share**2 / freedom for share, freedom in shares)
    # Rounding errors may leave the degrees a little below a whole number.
    reach = STUDENT[bisect_right(DEGREES, degrees + 1e-9) - 1] * math.sqrt(total)
    return middle - reach, middle + reach
