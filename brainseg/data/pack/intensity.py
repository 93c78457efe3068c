"""How grey levels of any type become the 8 bits of a pack.

Images of 8 bits are taken as they are. All others are mapped linearly, each patient and channel
by itself: 0, or the lowest level if that is negative, becomes 0, and the level at CEILING becomes
255; what is brighter is cut off. Scanners give MRI no common scale, so a patient's own it is.

Shapes: S slices of a patient, H rows, W columns, C channels; 2 is (what becomes 0, what 255).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CEILING = 99.9  # percentile of all pixels of a patient

Levels = NDArray[np.float32]


def levels(images_SHWC: Iterable[NDArray[Any]]) -> Levels:
    """Return what becomes 0 and 255 in each channel of a patient's slices, shape (C, 2)."""
    flat = [image_HWC.reshape(-1, image_HWC.shape[2]) for image_HWC in images_SHWC]
    if flat[0].dtype == np.uint8:
        return np.tile(np.array([0, 255], np.float32), (flat[0].shape[1], 1))
    found = [_range(np.concatenate([part[:, c] for part in flat])) for c in range(flat[0].shape[1])]
    return np.array(found, np.float32)


def to_bytes(image_HWC: NDArray[Any], levels_C2: Levels) -> NDArray[np.uint8]:
    """Return the image in 8 bits; one that has them already is returned as it is."""
    if image_HWC.dtype == np.uint8:
        return image_HWC
    low, high = levels_C2.T
    scaled = np.rint((image_HWC.astype(np.float32) - low) * (255 / (high - low)))
    image_HWC = np.clip(scaled, 0, 255).astype(np.uint8)
    return image_HWC


def _range(values: NDArray[Any]) -> tuple[float, float]:
    low = min(0.0, float(values.min()))
    high = float(np.percentile(values, CEILING))
    return low, high if high > low else low + 1.0  # an empty channel stays 0
