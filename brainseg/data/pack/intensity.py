"""How intensities of any number type become the 8 bits of a pack.

Images of 8 bits stay as they are. All others are mapped linearly, for each patient and channel
separately, since MRI has no scale that scanners share: 0, or the lowest intensity if that is
negative, becomes 0; the percentile CEILING becomes 255; anything brighter is clipped.

What is not part of the picture does not set this scale (data/pack/extremes.py finds it): a few
voxels far away, padding, and 0 itself where the picture is stored with an offset.

Shapes: S slices of a patient, H rows, W columns, C channels; 2 is (what becomes 0, what 255).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.data.pack.extremes import SMALLEST, Picture, without_extremes
from brainseg.data.readers.problems import Problem, Refused

CEILING = 99.9  # percentile of all pixels of a patient
LARGEST = 1e38  # float32 has no room for a range beyond it

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
    with np.errstate(over="ignore"):  # what float32 cannot hold is clipped
        inside = np.clip(image_HWC.astype(np.float32), low, high)
    image_HWC = np.rint((inside - low) * (255 / (high - low))).astype(np.uint8)
    return image_HWC


def level_counts(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pixels of each grey level, shape (C, 256)."""
    channels = image_HWC.reshape(-1, image_HWC.shape[2]).T
    return np.stack([np.bincount(channel, minlength=256) for channel in channels]).astype("<u4")


def require_one_type(image: str, dtype: np.dtype[Any], patient: str, first: np.dtype[Any]) -> None:
    """Refuse an image of another number type than the first of its patient: they share a scale."""
    if dtype != first:
        rule = "the images of a patient must have one number type"
        fault = f"holds {dtype} and another image of {patient} {first}"
        raise Refused(Problem(image, rule, fault, "export all alike"))


def _range(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype == np.float64:
        values = np.clip(values, -LARGEST, LARGEST)
    picture = without_extremes(values)
    low, high = float(np.float32(picture.black)), float(np.float32(_ceiling(picture)))
    if not high - low > abs(low) * 1e-6 + SMALLEST:  # an empty channel stays 0
        high = low + max(1.0, abs(low) * 1e-6)
    return low, high


def _ceiling(picture: Picture) -> float:
    """The percentile of all pixels; of all but 0 where these are so few that it would cut them."""
    high = float(np.percentile(picture.rising, CEILING))
    body = picture.body
    if len(body) and high < body[len(body) // 2]:
        return float(np.percentile(body, CEILING))
    return high
