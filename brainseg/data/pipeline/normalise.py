"""Scale intensities to network inputs: a ceiling, a mean and a deviation for every slice.

MRI has no absolute scale: one scanner's white is another's grey. Statistics exclude the background
and come from the histograms of the pack, so no pixel is read or copied again.

Shapes: N slices, G groups of slices (an image, or a patient), C channels, 256 grey levels; 3 is
(ceiling, mean, standard deviation).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green, blue in [0, 1]; Deng et al. (2009)
IMAGENET_STD = (0.229, 0.224, 0.225)
BACKGROUND = 0.1  # share of the 99th percentile below which a level counts as background
CEILING = 0.995  # quantile of the foreground above which levels are clipped

Scaling = NDArray[np.float32]


def scaling(histograms_NC256: NDArray[np.uint32], patients: Sequence[str], how: str) -> Scaling:
    """Ceiling, mean and deviation of each slice and channel, in grey levels, shape (N, C, 3).

    The network sees (min(level, ceiling) - mean) / deviation.

    Args:
        patients: the patient of each slice.
        how: "patient" pools a patient's slices, "image" uses each slice alone, "imagenet" uses
            for all slices the statistics that ImageNet weights were trained with.

    Raises:
        ValueError: "imagenet" for other than 3 channels.
    """
    require_three_channels(how, histograms_NC256.shape[1])
    if how == "imagenet":
        fixed = np.stack([np.ones(3), IMAGENET_MEAN, IMAGENET_STD], axis=1) * 255
        return np.broadcast_to(fixed, (len(patients), 3, 3)).astype(np.float32)
    keys = np.arange(len(patients)) if how == "image" else np.asarray(patients)
    _, group_N = np.unique(keys, return_inverse=True)
    pooled_GC256 = np.zeros((group_N.max() + 1, *histograms_NC256.shape[1:]), np.float64)
    np.add.at(pooled_GC256, group_N, histograms_NC256)
    return _foreground_statistics(pooled_GC256)[group_N]


def require_three_channels(how: str, channels: int) -> None:
    """Refuse ImageNet's statistics, of red, green and blue, for other than 3 channels."""
    if how == "imagenet" and channels != 3:
        raise ValueError(
            f"normalise=imagenet needs images of 3 channels, these have {channels}; "
            "use --set normalise=patient or image"
        )


def _foreground_statistics(histograms_GC256: NDArray[np.float64]) -> Scaling:
    """Ceiling, mean, deviation over the foreground, shape (G, C, 3); without any: 255, 0, 1."""
    levels = np.arange(256)
    counts = histograms_GC256.copy()
    counts[..., 0] = 0  # padding
    floor = BACKGROUND * _quantile_level(counts, 0.99)
    counts[levels <= floor[..., None]] = 0
    ceiling = _quantile_level(counts, CEILING)
    cut = np.minimum(levels, ceiling[..., None])
    total = counts.sum(-1)
    some = np.maximum(total, 1)
    mean = (counts * cut).sum(-1) / some
    variance = (counts * (cut - mean[..., None]) ** 2).sum(-1) / some
    deviation = np.maximum(np.sqrt(variance), 1.0)
    nothing = total == 0
    statistics = np.stack([np.where(nothing, 255, ceiling), mean, deviation], axis=-1)
    return statistics.astype(np.float32)


def _quantile_level(counts: NDArray[np.float64], quantile: float) -> NDArray[np.int64]:
    """The lowest level with at least ``quantile`` of the pixels at or below it."""
    cumulative = counts.cumsum(-1)
    reached: NDArray[np.int64] = (cumulative >= quantile * cumulative[..., -1:]).argmax(-1)
    return reached
