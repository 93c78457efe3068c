"""Pairs of a true and a predicted mask: what networks produce, and what breaks metrics."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SPACINGS = [(1.0, 1.0, 1.0), (6.0, 0.9, 0.9), (2.5, 0.43, 0.71), (0.31, 1.7, 3.3)]


@dataclass(frozen=True)
class MaskPair:
    """Two masks (S, H, W) and the spacing between voxels."""

    name: str
    true: np.ndarray
    predicted: np.ndarray
    spacing: tuple[float, float, float]

    @property
    def in_plane(self) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """Without the axis of slices where there is one slice only."""
        if len(self.true) > 1:
            return self.true, self.predicted, self.spacing
        return self.true[0], self.predicted[0], self.spacing[1:]


def mask_pairs(count: int = 200) -> list[MaskPair]:
    """The same pairs every time, each kind in every spacing, every third one a single slice."""
    rng = np.random.default_rng(17)
    kinds = list(KINDS.items())
    pairs = []
    for n in range(count):
        name, draw = kinds[n % len(kinds)]
        num_slices = 1 if n % 3 == 0 else int(rng.integers(2, 12))
        shape = (num_slices, *rng.integers(4, 20, 2).tolist())
        true, predicted = draw(rng, shape)
        spacing = SPACINGS[n // len(kinds) % len(SPACINGS)]
        pairs.append(MaskPair(f"{n} {name}", true, predicted, spacing))
    return pairs


def _blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Tumour-like, and the prediction a perturbed copy."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    other = field + 0.3 * field.std() * ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    return field >= np.quantile(field, 0.8), other >= np.quantile(other, 0.75)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return rng.random(shape) < 0.3, rng.random(shape) < 0.2


def _voxels(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One voxel each."""
    masks = np.zeros((2, *shape), bool)
    for mask in masks:
        mask[tuple(rng.integers(0, shape))] = True
    return masks[0], masks[1]


def _corners(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in opposite corners, that touch the border of the volume."""
    masks = np.zeros((2, *shape), bool)
    masks[0][: (shape[0] + 1) // 2, :3, :2] = True
    masks[1][shape[0] // 2 :, -2:, -3:] = True
    return masks[0], masks[1]


def _filled(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The whole volume is tumour, but for a hole in the prediction."""
    predicted = np.ones(shape, bool)
    predicted[:, 1:3, 1:3] = False
    return np.ones(shape, bool), predicted


def _equal(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    mask, _ = _blobs(rng, shape)
    return mask, mask.copy()


def _missed(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return _blobs(rng, shape)[0], np.zeros(shape, bool)


def _made_up(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(shape, bool), _blobs(rng, shape)[0]


def _nothing(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(shape, bool), np.zeros(shape, bool)


KINDS = {
    "blobs": _blobs,
    "noise": _noise,
    "single voxels": _voxels,
    "more blobs": _blobs,
    "corners": _corners,
    "filled": _filled,
    "equal": _equal,
    "missed": _missed,
    "made up": _made_up,
    "nothing": _nothing,
}
