"""How a volume lies in space: its canonical axes, its spacing, and whether two lie in one place.

Canonical axes point right, front and up (RAS), as nearly as the axes that are stored. The affine
alone says where a voxel is; it comes from the sform if that has a code, else from the qform (as in
nibabel). Where neither has a code, the axes are taken as they are stored.

Shapes: X, Y, Z the canonical axes unless a name says that they are stored ones.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

CANONICAL = "RAS"
DIRECTIONS = ("RL", "AP", "SI")  # of each canonical axis, the positive one first
ALIKE = 0.01  # spacings that differ by less are the same
ROUNDED = 1e-3  # spacings that differ by less are rounded differently
SKEW_DEGREES = 0.1  # right angles are met to that
FLAT = 0.01  # volume of the axes' directions (1 at right angles) below which they span no space
# Headers are rounded: to four decimals, a corner 300 mm away moves by 0.03 mm. A tenth of a voxel
# is above that and moves no border to another voxel.
NEAR = 0.1  # of the smallest voxel's side

Affine = NDArray[np.float64]
Grid = tuple[int, ...]  # voxels along X, Y, Z


@dataclass(frozen=True)
class Geometry:
    """How a volume lies in space, by its canonical axes."""

    shape: Grid
    channels: int
    spacing_mm: tuple[float, ...]  # from voxel to voxel along X, Y, Z
    orientation: str  # where the stored axes point: "LPS" is left, back, up
    placed: bool  # the file says where it lies
    affine: Affine = field(compare=False)  # from canonical indices to mm
    notes: tuple[tuple[str, str], ...] = ()  # what is unusual; the values

    @property
    def axis(self) -> int:
        """The axis that is cut across: of the largest spacing, or the one of a single voxel."""
        if self.shape.count(1) == 1:
            return self.shape.index(1)
        largest = max(self.spacing_mm) * (1 - ALIKE)
        return max(k for k in range(3) if self.spacing_mm[k] >= largest)

    @property
    def slice_spacing_mm(self) -> tuple[float, float, float]:
        """The distance from row to row, from column to column, from slice to slice."""
        column_mm, row_mm = (mm for k, mm in enumerate(self.spacing_mm) if k != self.axis)
        if skew_degrees(self.affine) < SKEW_DEGREES:
            return row_mm, column_mm, self.spacing_mm[self.axis]
        voxel_mm3 = abs(float(np.linalg.det(self.affine[:3, :3])))
        return row_mm, column_mm, voxel_mm3 / (row_mm * column_mm)

    @cached_property
    def tolerance_mm(self) -> float:
        return NEAR * min(self.spacing_mm)

    def difference(self, other: "Geometry", name: str) -> str:
        """How this grid differs from ``other``, that of the file ``name``; "" if it is the same."""
        if self.shape != other.shape:
            return f"is {times(self.shape)} voxels, {name} is {times(other.shape)}"
        sizes = f"has voxels of {times(self.spacing_mm)} mm, {name} of {times(other.spacing_mm)}"
        same_size = np.allclose(self.spacing_mm, other.spacing_mm, rtol=ALIKE)
        if not (self.placed and other.placed):
            unknown = any(set(g.spacing_mm) == {1.0} and not g.placed for g in (self, other))
            return "" if same_size or unknown else sizes
        shift = shift_mm(self.affine, other.affine, self.shape)
        if shift <= other.tolerance_mm:
            return ""
        allowed = f"({other.tolerance_mm:.2g} mm is allowed)"
        if same_size:
            return f"lies up to {shift:.3g} mm from {name} {allowed}"
        return f"{sizes}, and lies up to {shift:.3g} mm away {allowed}"


def shift_mm(affine: Affine, other: Affine, shape: Grid) -> float:
    """How far apart two affines place a corner of the grid, at most."""
    corners = np.array([*product(*((0, n - 1) for n in shape))], float)
    apart = corners @ (affine - other)[:3, :3].T + (affine - other)[:3, 3]
    return float(np.linalg.norm(apart, axis=1).max())


def fault(affine: Affine) -> str:
    """Why an affine places no voxels; "" if it does."""
    if not np.isfinite(affine).all():
        return "holds numbers that are not finite"
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not (sides > 0).all() or abs(np.linalg.det(affine[:3, :3] / sides)) < FLAT:
        return f"spans no space (columns of {times(sides.tolist())} mm)"
    return ""


def orientation_of(affine: Affine) -> str:
    """Where the stored axes point, each to the nearest direction of its own."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    directions = directions.round(3)  # a volume turned by 45 degrees is turned alike in all files
    best = max(permutations(range(3)), key=lambda p: float(sum(abs(directions[p, range(3)]))))
    return "".join(DIRECTIONS[k][int(directions[k, j] < 0)] for j, k in enumerate(best))


def stored_axes(orientation: str) -> list[tuple[int, bool]]:
    """For each canonical axis the stored one, and whether it runs the other way."""
    return [
        next((j, letter == ends[1]) for j, letter in enumerate(orientation) if letter in ends)
        for ends in DIRECTIONS
    ]


def turned(voxels: NDArray[Any], orientation: str) -> NDArray[Any]:
    """A view of stored voxels (three axes, then channels) with canonical axes."""
    axes = stored_axes(orientation)
    steps = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in axes)
    return voxels.transpose(*(j for j, _ in axes), *range(3, voxels.ndim))[steps]


def turned_affine(affine: Affine, orientation: str, stored: Grid) -> Affine:
    """The affine of the canonical axes of a grid of ``stored`` voxels."""
    to_stored = np.zeros((4, 4))
    to_stored[3, 3] = 1
    for k, (j, flipped) in enumerate(stored_axes(orientation)):
        to_stored[j, k] = -1 if flipped else 1
        to_stored[j, 3] = stored[j] - 1 if flipped else 0
    return affine @ to_stored


def spacing_of(affine: Affine, pixdim_mm: tuple[float, ...]) -> tuple[float, ...]:
    """The lengths of an affine's columns; as pixdim has them where that is only rounded."""
    sides = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return tuple(
        mm if math.isclose(mm, side, rel_tol=ROUNDED) else side
        for side, mm in zip(sides, pixdim_mm, strict=True)
    )


def skew_degrees(affine: Affine) -> float:
    """How far the angle between two axes is from a right one, at most."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(directions.T @ directions - np.eye(3))
    return math.degrees(math.asin(min(1.0, float(cosines.max()))))


def times(numbers: "tuple[float, ...] | list[float] | Grid") -> str:
    return " x ".join(f"{number:.6g}" for number in numbers)
