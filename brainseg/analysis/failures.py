"""On how many patients a configuration fails, which no mean shows.

A patient counts as failed where the mean Dice over seeds is below 0.1.

Shapes: S seeds, P patients.
"""

from dataclasses import dataclass

from scipy import stats

from brainseg.analysis.estimate import LEVEL, Floats

FAILED = 0.1  # of Dice: below, next to nothing of the tumour was found


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Failed patients of one configuration, and beside another."""

    count: int
    low: float  # share of patients: the exact 95 % interval of Clopper and Pearson (1934)
    high: float
    alone: int  # patients on which it fails and the other does not
    other_alone: int  # and the reverse
    p: float  # exact two-sided p of McNemar's test (1947) that both fail alike


def failures(own_SP: Floats, other_SP: Floats) -> Failures:
    """Count the failures of a configuration, and compare them with those of another."""
    own_P, other_P = own_SP.mean(0) < FAILED, other_SP.mean(0) < FAILED
    interval = stats.binomtest(int(own_P.sum()), len(own_P)).proportion_ci(LEVEL, method="exact")
    alone, other_alone = int((own_P & ~other_P).sum()), int((other_P & ~own_P).sum())
    apart = alone + other_alone
    return Failures(
        count=int(own_P.sum()),
        low=float(interval.low),
        high=float(interval.high),
        alone=alone,
        other_alone=other_alone,
        p=float(stats.binomtest(alone, apart).pvalue) if apart else 1.0,
    )
