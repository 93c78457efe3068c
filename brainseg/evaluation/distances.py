"""How far two surfaces lie apart: HD95 and the surface Dice (NSD), by DeepMind's surface-distance.

A mask's surface runs through the corners between voxels; each corner carries the area that the
marching-cubes triangles of its eight voxels have there (Nikolov et al. 2021; in one slice the
length of the contour). Both scores weigh by that area. It is the definition of the BraTS challenges
since 2023 and of the Medical Segmentation Decathlon, which call the same library, and of MONAI's
surface Dice with ``use_subvoxels``. MONAI's HD95 and its default surface Dice count the outermost
voxels instead, each for one whatever its size: docs/log.md has by how much they differ.

The search for the nearest corner is by a tree, and not the library's distance transform of the
whole box, which takes 10 times longer where one voxel lies far off and calls names that NumPy 2
and SciPy 2 have removed.

Shapes: S slices, H rows, W columns, K corners on a surface, D axes (2 for a single slice).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from surface_distance import compute_robust_hausdorff, compute_surface_dice_at_tolerance
from surface_distance.lookup_tables import (
    ENCODE_NEIGHBOURHOOD_2D_KERNEL,
    ENCODE_NEIGHBOURHOOD_3D_KERNEL,
    create_table_neighbour_code_to_contour_length,
    create_table_neighbour_code_to_surface_area,
)

from brainseg.evaluation.boxes import Mask, box_around

PERCENT = 95
UNDEFINED_DISTANCES = (
    "Neither mask has tumour: HD95 is 0 and the surface Dice 1. Only one has: HD95 is the diagonal "
    "of the volume, the worst it allows, and the surface Dice 0; such patients are in the mean and "
    "counted as undefined."
)


@dataclass(frozen=True)
class SurfaceScores:
    """What two masks score.

    Attributes:
        hd95: in the unit of the spacing.
        nsd: surface Dice, from 0 to 1.
    """

    hd95: float
    nsd: float


def surface_scores(
    true_SHW: NDArray[Any],
    predicted_SHW: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> SurfaceScores:
    """HD95 and surface Dice of two masks; what is not 0 is tumour.

    HD95 is the greater of two 95th percentiles, of the distances from the true surface to the
    predicted one and back (Huttenlocher et al. 1993; Taha and Hanbury 2015). The surface Dice is
    the share of both surfaces that lies within the tolerance of the other (Nikolov et al. 2021). A
    single slice is scored in its plane, by contours. The border of the volume is a surface too.

    Two empty masks agree: 0 and 1. Where one is empty no distance exists, and a mean without that
    patient would reward a network for finding nothing: HD95 is the diagonal of the volume and the
    surface Dice 0. So scores BraTS (374 for 240 x 240 x 155 mm; rachitsaluja/BraTS-2023-Metrics).

    Args:
        spacing_mm: between slices, rows and columns; (1, 1, 1) for distances in pixels.
        tolerance_mm: in the unit of the spacing; a distance equal to it is within.

    Raises:
        ValueError: shapes that differ or have not three axes, no voxel, a spacing that is not
            above 0, a tolerance below 0.
    """
    true, predicted = _as_masks(true_SHW, predicted_SHW)
    spacing = tuple(float(step) for step in spacing_mm)
    if len(spacing) != 3 or not all(0 < step < np.inf for step in spacing):
        raise ValueError(f"a spacing is three numbers above 0, got {spacing_mm}")
    if not 0 <= tolerance_mm < np.inf:
        raise ValueError(f"a tolerance is a number from 0 on, got {tolerance_mm}")
    if not (true.any() or predicted.any()):
        return SurfaceScores(0.0, 1.0)
    if not (true.any() and predicted.any()):
        return SurfaceScores(float(np.linalg.norm(np.multiply(true.shape, spacing))), 0.0)
    if len(true) == 1:
        true, predicted, spacing = true[0], predicted[0], spacing[1:]
    distances = _distances(true, predicted, spacing)
    return SurfaceScores(
        float(compute_robust_hausdorff(distances, PERCENT)),
        float(compute_surface_dice_at_tolerance(distances, tolerance_mm)),
    )


def _as_masks(true_SHW: NDArray[Any], predicted_SHW: NDArray[Any]) -> tuple[Mask, Mask]:
    if true_SHW.shape != predicted_SHW.shape:
        raise ValueError(f"masks must share a shape, got {true_SHW.shape}, {predicted_SHW.shape}")
    if true_SHW.ndim != 3 or not true_SHW.size:
        raise ValueError(f"masks have slices, rows and columns, got the shape {true_SHW.shape}")
    return true_SHW.astype(bool), predicted_SHW.astype(bool)


def _distances(
    true: Mask, predicted: Mask, spacing: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """As the library's ``compute_surface_distances`` returns them, sorted by distance."""
    corners, areas = _surface(true, tuple(spacing))
    other_corners, other_areas = _surface(predicted, tuple(spacing))
    away, areas = _sorted(_to_nearest(corners, other_corners, spacing), areas)
    back, other_areas = _sorted(_to_nearest(other_corners, corners, spacing), other_areas)
    return {
        "distances_gt_to_pred": away,
        "distances_pred_to_gt": back,
        "surfel_areas_gt": areas,
        "surfel_areas_pred": other_areas,
    }


def _surface(
    mask: Mask, spacing: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Corners on the surface, (K, D) in voxels, and the area of each, (K,)."""
    box = box_around(mask)
    padded = np.pad(mask[box], 1).astype(np.uint8)
    kernel = ENCODE_NEIGHBOURHOOD_2D_KERNEL if mask.ndim == 2 else ENCODE_NEIGHBOURHOOD_3D_KERNEL
    codes = np.zeros([side - 1 for side in padded.shape], np.uint8)
    for shift in np.ndindex(kernel.shape):
        near = tuple(slice(k, k + side) for k, side in zip(shift, codes.shape, strict=True))
        codes += padded[near] * np.uint8(kernel[shift])
    corners = np.argwhere((codes > 0) & (codes < kernel.sum()))
    first = np.array([part.start for part in box])
    return corners + first, _areas(spacing)[codes[tuple(corners.T)]]


@lru_cache(maxsize=8)
def _areas(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Area, or length, of each of the 256, or 16, neighbourhoods of a corner."""
    if len(spacing) == 2:
        table = create_table_neighbour_code_to_contour_length(spacing)
    else:
        table = create_table_neighbour_code_to_surface_area(spacing)
    return np.asarray(table, np.float64)


def _to_nearest(
    corners: NDArray[np.int64], others: NDArray[np.int64], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """The distance of each corner to the nearest other, (K,).

    It is worked out from whole numbers of voxels, so that 3 voxels of 0.5 mm are 1.5 mm wherever
    they lie: a distance equal to the tolerance must not depend on rounding.
    """
    tree = KDTree(others * spacing, balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(corners * spacing)
    return np.asarray(np.linalg.norm((corners - others[nearest]) * np.asarray(spacing), axis=1))


def _sorted(
    distances: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]
