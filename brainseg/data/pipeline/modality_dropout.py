"""Modality dropout: each channel of a training slice shows itself or, at random, FLAIR.

If a patient lacks the pre- or the post-contrast sequence, the LGG data set fills its channel with
FLAIR (6 and 10 of 110 patients). A network that was trained on few such patients finds no tumour
in them; dropping modalities at random teaches it to work with what there is.

Shapes: N slices of a pack, C channels.
"""

import numpy as np
from numpy.typing import NDArray


def shown_channels(
    slices: int, channels: int, *, flair: int | None, missing: float, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Which channel is shown in place of each channel of each slice, shape (N, C).

    Depends only on (seed, epoch) and the slice's row, so the number of workers changes nothing.

    Args:
        flair: its channel; None if unknown: then every channel shows itself.
        missing: probability that a channel other than FLAIR shows FLAIR.
    """
    itself_NC = np.broadcast_to(np.arange(channels), (slices, channels))
    if flair is None:
        return itself_NC.copy()
    drawn_NC = np.random.Generator(np.random.Philox(key=[seed, epoch])).random((slices, channels))
    return np.where(drawn_NC < missing, flair, itself_NC)
