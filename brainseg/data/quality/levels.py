"""Whether enough grey levels are left to show a patient's head once intensities become 8 bits.

Shapes: H rows, W columns, C channels; 2 is (what becomes 0, what 255).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.data.pack.intensity import intensity_range, to_bytes

FEWEST = 30  # grey levels that carry a picture
HEAD = 0.99  # share of a head's pixels by which its grey levels are counted
MIDDLE = (5, 95)  # percentiles
CROWDED = 9  # levels of the middle; the darkest of 72 channels of real patients has 26
WHITE = 0.01  # share of pixels above the range; of an ordinary picture it is a tenth of that


def faults_of_levels(images_HWC: Sequence[NDArray[Any]]) -> str:
    """What is wrong with the grey levels of a patient's channel, the likely cause; "" if nothing.

    A channel of one value is left out: summary.py notes it.
    """
    if not images_HWC or len({(image.dtype, image.shape[2]) for image in images_HWC}) > 1:
        return ""
    range_C2 = intensity_range(images_HWC)
    bytes_HWC = [to_bytes(image, range_C2) for image in images_HWC]
    for channel, (_, high) in enumerate(range_C2):
        values, grey = (
            np.concatenate([image[..., channel].ravel() for image in images])
            for images in (images_HWC, bytes_HWC)
        )
        if values.min() == values.max():
            continue
        if (left := levels_in_head(values, grey)) < FEWEST:
            return f"keeps only {left} grey levels in channel {channel}: {_cause(values)}"
        if (share := np.count_nonzero(values > high) / values.size) > WHITE:
            return (
                f"has {share:.0%} of its pixels in channel {channel} far above all others, up to "
                f"{values.max():g}: padding, which becomes white; write 0 where nothing was "
                "measured"
            )
    return ""


def levels_in_head(values: NDArray[Any], grey: NDArray[np.uint8]) -> int:
    """How many grey levels show a head: the most frequent ones, with HEAD of its pixels.

    Stray voxels may use many levels: where those of the MIDDLE are CROWDED, these count alone. The
    head is all but the background, one value that holds half of the most frequent level.
    """
    counts = np.bincount(grey, minlength=256)
    level = counts.argmax()
    inside = values[grey == level]
    background = np.partition(inside, len(inside) // 2)[len(inside) // 2]
    counts[level] -= np.count_nonzero(inside == background)
    if not counts.any():
        return 0
    rising, falling = counts.cumsum(), np.sort(counts)[::-1].cumsum()
    low, high = np.searchsorted(rising, np.array(MIDDLE) / 100 * rising[-1])
    if high - low < CROWDED:
        return int(high - low + 1)
    return int(np.searchsorted(falling, HEAD * falling[-1]) + 1)


def _cause(values: NDArray[Any]) -> str:
    distinct = len(np.unique(values))
    if distinct <= FEWEST:
        return f"the files hold {distinct} values"
    low, high = np.percentile(values, MIDDLE)
    return (
        f"intensities reach from {values.min():g} to {values.max():g}, 9 in 10 of them lie between "
        f"{low:g} and {high:g} (padding, or single bright voxels)"
    )
