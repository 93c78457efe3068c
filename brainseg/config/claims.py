"""What an earlier study concluded, stated so that the records of a run can be held against it.

An arm is named by a point, some paths and their values: it stands for every trial that has these
values. A claim about an arm of several models holds if it holds for each of them.

A curve is the validation Dice after each epoch of a trial. Three numbers are taken from it:

    best         its highest value
    convergence  the first epoch at which it reaches 0.9 of the lower of the two best values, of
                 its own and of the curve it is compared with
    roughness    its mean absolute change from one epoch to the next in the second half of training
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean, variance
from typing import Any

from brainseg.config.schema import Value

Point = Mapping[str, Value]
SHARE = 0.9  # of the lower best Dice; who reached it has converged
# Degrees of freedom and Student's t for a two-sided 95 % interval.
DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 60, 120)
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.179, 2.131,
           2.086, 2.042, 2.000, 1.980)  # fmt: skip


@dataclass(frozen=True)
class Best:
    """The arm's best Dice, mean over seeds, is above that of every other arm."""

    text: str
    arm: Point


@dataclass(frozen=True)
class Worst:
    """The arm's best Dice, mean over seeds, is below that of every other arm."""

    text: str
    arm: Point


@dataclass(frozen=True)
class Faster:
    """The arm converges in fewer epochs than another."""

    text: str
    arm: Point
    than: Point


@dataclass(frozen=True)
class Rougher:
    """The arm's curve is rougher than that of every other arm."""

    text: str
    arm: Point


Claim = Best | Worst | Faster | Rougher
KINDS: dict[str, type[Claim]] = {
    kind.__name__.lower(): kind for kind in (Best, Worst, Faster, Rougher)
}


def to_record(claim: Claim) -> dict[str, Any]:
    """The claim as JSON can hold it; ``from_record`` is the inverse."""
    return {"kind": type(claim).__name__.lower(), **asdict(claim)}


def from_record(record: Mapping[str, Any]) -> Claim:
    """The claim that a sweep's record holds.

    Raises:
        ValueError: a kind that this version does not know.
    """
    fields = dict(record)
    kind = fields.pop("kind")
    if kind not in KINDS:
        raise ValueError(
            f"a claim is one of {', '.join(KINDS)}, got {kind!r}; the run was begun by another "
            "version of brainseg"
        )
    return KINDS[kind](**fields)


def arms_of(claim: Claim) -> tuple[Point, ...]:
    """The arms that the claim names."""
    return (claim.arm, claim.than) if isinstance(claim, Faster) else (claim.arm,)


def stands_for(arm: Point, params: Point) -> bool:
    """Whether a trial of these hyperparameters is one of the arm's."""
    return all(params.get(path) == value for path, value in arm.items())


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
