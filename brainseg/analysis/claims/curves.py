"""What a learning curve converges to, how fast, and how rough it is."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from brainseg.analysis.estimate import Estimate, Floats

SHARE = 0.9  # of the lower level; a curve that reached it has converged
WINDOW = 5  # epochs of the moving mean, since a single epoch of a noisy curve lies above any level


def convergence(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The epochs, counted from 1, at which two curves converge; NaN if one never leaves 0.

    A curve's level is its mean in the second half; it is reached by the moving mean of the curve.
    """
    level = SHARE * min(_level(ours), _level(theirs))
    return first_epoch(smoothed(ours), level), first_epoch(smoothed(theirs), level)


def _level(dice: Sequence[float]) -> float:
    late = dice[len(dice) // 2 :]
    return fmean(late) if late else 0.0


def smoothed(dice: Sequence[float]) -> list[float]:
    """The mean over each epoch and the two on either side, as far as there are any."""
    reach = WINDOW // 2
    return [fmean(dice[max(n - reach, 0) : n + reach + 1]) for n in range(len(dice))]


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


def over_trainings(value_T: Floats) -> Estimate:
    """The mean of one number a training, such as a difference between two curves.

    Student's, with a degree of freedom less than there are trainings. It holds for new trainings on
    the same patients; what the patients of a fold have in common makes it rather too wide.
    """
    trainings = len(value_T)
    variance = float(value_T.var(ddof=1)) if trainings > 1 else math.nan
    return Estimate(
        mean=float(value_T.mean()),
        count=trainings,
        error_patients=0.0,
        error_training=variance / trainings,
        freedom_patients=math.inf,
        freedom_training=trainings - 1,
        training=variance,
        rest=0.0,
    )
