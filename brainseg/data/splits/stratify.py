"""Assign patients to parts that are alike in tumour volume, size and site.

Units are ordered by tumour volume and cut into strata of neighbours; each part gets its share of
every stratum. Units are first drawn at random within a stratum; then two units of a stratum are
swapped as long as that brings the parts' sizes and sites nearer to their shares.

Shapes: U units, S sites, P parts.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Units:
    """What stays in one part: a patient, or linked patients; largest tumour first."""

    names: list[str]
    volumes_U: NDArray[np.float64]
    sites_US: NDArray[np.int64]  # patients of each site

    def only(self, chosen_U: NDArray[np.bool_]) -> "Units":
        names = [name for name, chosen in zip(self.names, chosen_U, strict=True) if chosen]
        return Units(names, self.volumes_U[chosen_U], self.sites_US[chosen_U])


def draw(
    units: Units, num_patients: int, *, still_to_come: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw units of num_patients in all, one from each stratum; leave tumour for later parts."""
    count, total = len(units.names), int(units.sites_US.sum())
    label_U = np.zeros(count, int)
    if num_patients == 0:
        return np.zeros(count, bool)
    num_units = min(max(1, round(num_patients * count / total)), count - still_to_come)
    strata = np.array_split(np.arange(count), num_units)
    label_U[[rng.choice(stratum) for stratum in strata]] = 1
    share_P = np.array([1 - num_patients / total, num_patients / total])
    needed_P = np.array([still_to_come, 1])
    return np.equal(_balanced(units, strata, label_U, share_P, needed_P), 1)


def deal(units: Units, num_parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each unit's part, 0 to num_parts - 1: each part gets one unit of each stratum."""
    count = len(units.names)
    strata = [np.arange(i, min(i + num_parts, count)) for i in range(0, count, num_parts)]
    label_U = np.concatenate([rng.permutation(num_parts)[: len(stratum)] for stratum in strata])
    share_P = np.full(num_parts, 1 / num_parts)
    return _balanced(units, strata, label_U, share_P, needed_P=np.ones(num_parts, int))


def _balanced(
    units: Units,
    strata: list[NDArray[np.int64]],
    label_U: NDArray[np.int64],
    share_P: NDArray[np.float64],
    needed_P: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Swap labels within strata while that brings the parts nearer to what they should hold.

    What counts, in this order: that each part p has needed_P[p] units with tumour, its share of
    all patients, its share of each site.
    """
    large_S = units.sites_US.sum(0) * share_P.min() >= 1
    small_U1 = units.sites_US[:, ~large_S].sum(1, keepdims=True)
    sites_US = np.concatenate([units.sites_US[:, large_S], small_U1], axis=1)
    wanted_PS = share_P[:, None] * sites_US.sum(0)

    has_tumour_U = units.volumes_U > 0
    pairs = [list(pair) for stratum in strata for pair in combinations(stratum, 2)]

    def shortfall(label_U: NDArray[np.int64]) -> tuple[float, ...]:
        is_in_PU = label_U == np.arange(len(share_P))[:, None]
        off_PS = is_in_PU @ sites_US - wanted_PS
        lacking = np.maximum(needed_P - (is_in_PU & has_tumour_U).sum(1), 0).sum()
        return tuple(np.round([lacking, (off_PS.sum(1) ** 2).sum(), (off_PS**2).sum()], 6).tolist())

    best, improved = shortfall(label_U), True
    while improved:
        improved = False
        for pair in pairs:
            if label_U[pair[0]] == label_U[pair[1]]:
                continue
            swapped_U = label_U.copy()
            swapped_U[pair] = label_U[pair[::-1]]
            if (now := shortfall(swapped_U)) < best:
                best, label_U, improved = now, swapped_U, True
    return label_U
