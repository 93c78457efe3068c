"""Modality dropout: which channel each channel of a training slice shows, itself or FLAIR.

Where a patient lacks the pre- or the post-contrast sequence, the LGG data set fills its channel
with FLAIR (6 and 10 of 110 patients). A network that has hardly seen such a patient finds nothing
in one; seeing some on purpose teaches it to do with what there is.

Shapes: N slices of a pack, C channels.
"""

import numpy as np
from numpy.typing import NDArray


def shown_channels(
    slices: int, channels: int, *, flair: int | None, missing: float, seed: int, epoch: int
) -> NDArray[np.int64]:
    """For each slice and channel the channel that is shown in its place, shape (N, C).

    Depends on (seed, epoch) and the slice's row alone, so that it is the same on any number of
    workers.

    Args:
        flair: its channel; None where none is known, and every channel shows itself.
        missing: probability that a channel other than FLAIR shows FLAIR.
    """
    own_NC = np.broadcast_to(np.arange(channels), (slices, channels))
    if flair is None:
        return own_NC.copy()
    drawn_NC = np.random.Generator(np.random.Philox(key=[seed, epoch])).random((slices, channels))
    return np.where(drawn_NC < missing, flair, own_NC)
