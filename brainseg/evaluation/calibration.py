"""Do probabilities mean what they say? Pixels counted by probability, and the calibration error.

Of all pixels of a brain scan nearly all are background at a probability near 0, which any network
gets right: their calibration error is small whatever happens at the tumour. So pixels near the
tumour are counted as well: of each slice that has tumour the box around it, ``MARGIN`` pixels wider
on each side (as Mehrtash et al. 2020 do). The true mask alone decides, so that every model is asked
about the same pixels.

Shapes: H rows, W columns, M bins.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.evaluation.boxes import box_around

BINS = 10
MARGIN = 10  # pixels
CALIBRATION_RULE = (
    f"Expected calibration error over {BINS} bins of equal width (Guo et al. 2017): of all pixels, "
    f"nearly all of them background, and of those near tumour: the box around it in each slice, "
    f"{MARGIN} pixels wider on each side."
)

Bins = NDArray[np.float64]  # (M, 3): pixels, sum of their probabilities, tumour pixels among them


def reliability(probability: NDArray[Any], true: NDArray[Any], bins: int = BINS) -> Bins:
    """Pixels in bins of equal width by their probability, (M, 3); bins add up over patients.

    Bin m holds probabilities above m / M and up to (m + 1) / M, the first one 0 as well (Naeini et
    al. 2015; Guo et al. 2017). Columns: pixels, sum of their probabilities, and how many of them
    are tumour.

    Args:
        probability: of tumour, 0 to 1, any shape.
        true: of the same shape; what is not 0 is tumour.

    Raises:
        ValueError: shapes that differ, no bin, a probability outside 0 to 1 or NaN.
    """
    if probability.shape != true.shape:
        raise ValueError(f"shapes must be the same, got {probability.shape} and {true.shape}")
    if bins < 1:
        raise ValueError(f"there must be at least 1 bin, got {bins}")
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
        raise ValueError(
            f"a probability must lie between 0 and 1, got {probability.min()} to "
            f"{probability.max()}"
        )
    flat, is_tumour = probability.ravel(), true.ravel() != 0
    edges = np.arange(1, bins) / bins
    number = np.searchsorted(edges.astype(flat.dtype), flat)
    return np.stack(
        [
            np.bincount(number, minlength=bins),
            np.bincount(number, flat, minlength=bins),
            np.bincount(number[is_tumour], minlength=bins),
        ],
        axis=1,
    ).astype(np.float64)


def near_tumour(true_HW: NDArray[Any]) -> tuple[slice, slice]:
    """Rows and columns of the box around the tumour of a slice, wider by ``MARGIN``.

    Both are empty where the slice has no tumour.
    """
    rows, columns = box_around(true_HW != 0)
    if rows.stop == 0:
        return slice(0), slice(0)
    return (
        slice(max(rows.start - MARGIN, 0), rows.stop + MARGIN),
        slice(max(columns.start - MARGIN, 0), columns.stop + MARGIN),
    )


def ece(bins: Bins) -> NDArray[np.float64]:
    """The expected calibration error: mean gap of probability and share of tumour over pixels.

    Args:
        bins: (..., M, 3), see ``reliability``.

    Returns:
        (...): from 0 to 1; NaN where there is no pixel.
    """
    pixels = bins[..., 0].sum(-1)
    gap = np.abs(bins[..., 1] - bins[..., 2]).sum(-1)
    return np.asarray(gap / np.where(pixels > 0, pixels, np.nan))


def reliability_table(bins: Bins) -> pd.DataFrame:
    """A row per bin: low, high, pixels, probability (mean), tumour (share); NaN in an empty bin."""
    edges = np.arange(len(bins) + 1) / len(bins)
    pixels = np.where(bins[:, 0] > 0, bins[:, 0], np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "pixels": bins[:, 0].astype(np.int64),
            "probability": bins[:, 1] / pixels,
            "tumour": bins[:, 2] / pixels,
        }
    )
