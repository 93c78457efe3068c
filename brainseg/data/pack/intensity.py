"""How intensities of any number type become the 8 bits of a pack.

Images of 8 bits stay as they are. All others are mapped linearly, for each patient and channel
separately, since MRI has no scale that scanners share: 0, or the lowest intensity if that is
negative, becomes 0; the percentile CEILING becomes 255; anything brighter is clipped.

Shapes: S slices of a patient, H rows, W columns, C channels; 2 is (what becomes 0, what 255).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CEILING = 99.9  # percentile of all pixels of a patient

Range = NDArray[np.float32]


def intensity_range(images_SHWC: Iterable[NDArray[Any]]) -> Range:
    """Which intensities of a patient's slices become 0 and 255, for each channel: shape (C, 2)."""
    flat = [image_HWC.reshape(-1, image_HWC.shape[2]) for image_HWC in images_SHWC]
    if flat[0].dtype == np.uint8:
        return np.tile(np.array([0, 255], np.float32), (flat[0].shape[1], 1))
    channels = range(flat[0].shape[1])
    ranges = [_range(np.concatenate([pixels[:, c] for pixels in flat])) for c in channels]
    return np.array(ranges, np.float32)


def to_bytes(image_HWC: NDArray[Any], range_C2: Range) -> NDArray[np.uint8]:
    """Return the image in 8 bits; an image of 8 bits is returned as it is."""
    if image_HWC.dtype == np.uint8:
        return image_HWC
    low, high = range_C2.T
    scaled = np.rint((image_HWC.astype(np.float32) - low) * (255 / (high - low)))
    image_HWC = np.clip(scaled, 0, 255).astype(np.uint8)
    return image_HWC


def _range(values: NDArray[Any]) -> tuple[float, float]:
    low = min(0.0, float(values.min()))
    high = float(np.percentile(values, CEILING))
    return low, high if high > low else low + 1.0  # an empty channel stays 0
