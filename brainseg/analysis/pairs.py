"""Every pair of configurations, on request: differences, intervals and corrected p-values."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from brainseg.analysis.estimate import Estimate, Floats, Interval


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The Dice of the first less that of the second."""

    first: str
    second: str
    difference: Interval  # not corrected for the number of pairs
    p: float  # two-sided, Student's
    p_holm: float


def pairs(names: Sequence[str], differences: Sequence[Sequence[Estimate]]) -> tuple[Pair, ...]:
    """All pairs, in the order of ``names``; ``differences`` as ``best_set.pairwise`` gives them."""
    both = list(combinations(range(len(names)), 2))
    p = np.array([two_sided(differences[a][b]) for a, b in both])
    return tuple(
        Pair(
            first=names[a],
            second=names[b],
            difference=differences[a][b].of_difference(),
            p=float(own),
            p_holm=float(corrected),
        )
        for (a, b), own, corrected in zip(both, p, holm(p), strict=True)
    )


def two_sided(gap: Estimate) -> float:
    """The probability of a difference as large as this one where there is none."""
    if not gap.error:
        return float(gap.mean == 0)
    return float(2 * special.stdtr(gap.freedom, -abs(gap.mean) / gap.error))


def holm(p: Floats) -> Floats:
    """p-values adjusted for their number (Holm 1979): the level holds for all of them together."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
