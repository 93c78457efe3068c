"""Do predicted and true volumes agree? Bias and limits of agreement (Bland and Altman 1999)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

WIDTH = 1.96  # standard deviations: 95 % of differences, if they are normal
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A figure of the agreement with its interval, in the unit of the volumes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of predicted less true volume, over patients.

    Attributes:
        bias: the mean difference; above 0 where too much is predicted.
        lower, upper: limits of agreement, between which 95 % of differences lie.
        deviation: standard deviation of the differences.
        patients: how many.
    """

    bias: Bound
    lower: Bound
    upper: Bound
    deviation: float
    patients: int


def agreement(true: Sequence[float], predicted: Sequence[float]) -> Agreement | None:
    """Bland and Altman's bias and limits, with 95 % intervals; None below 3 patients.

    The limits are bias -+ 1.96 s. Standard errors: s / sqrt(n) of the bias and
    s sqrt(1/n + 1.96^2 / (2 (n - 1))) of a limit; intervals by Student's t with n - 1 degrees of
    freedom (Bland and Altman 1999, section 2.1). They suppose that differences are about normal and
    do not grow with the volume: the plot shows whether that holds.

    Args:
        true, predicted: a volume of each patient, all in one unit.

    Raises:
        ValueError: lengths that differ, or a volume that is not finite.
    """
    if len(true) != len(predicted):
        raise ValueError(f"{len(true)} true volumes need as many predicted, got {len(predicted)}")
    differences = np.subtract(predicted, true)
    if not np.isfinite(differences).all():
        raise ValueError("a volume must be a finite number")
    patients = len(differences)
    if patients < 3:
        return None
    bias, deviation = float(differences.mean()), float(differences.std(ddof=1))
    reach = float(student.ppf((1 + LEVEL) / 2, patients - 1)) * deviation
    of_bias = reach * patients**-0.5
    of_limit = reach * (1 / patients + WIDTH**2 / (2 * (patients - 1))) ** 0.5
    return Agreement(
        bias=_bound(bias, of_bias),
        lower=_bound(bias - WIDTH * deviation, of_limit),
        upper=_bound(bias + WIDTH * deviation, of_limit),
        deviation=deviation,
        patients=patients,
    )


def _bound(value: float, reach: float) -> Bound:
    return Bound(value=value, low=value - reach, high=value + reach)
