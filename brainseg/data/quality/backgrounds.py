"""Patients whose background is bright among others whose is dark: inverted, or padded with white.

Shapes: H rows, W columns, C channels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.extremes import without_extremes
from brainseg.data.readers.problems import some

DARK, BRIGHT = 0.25, 0.75  # of the way from the 5th to the 95th percentile, of a slice's rim
STEP = 4  # every fourth pixel of a side tells as much


def backgrounds(images_HWC: Sequence[NDArray[Any]]) -> tuple[int, ...]:
    """For each channel of a patient, if the rims of more than half of its slices agree.

    -1 is dark, 1 is bright and 0 neither, as where a head fills the picture.
    """
    if not images_HWC or len({image.shape[2] for image in images_HWC}) > 1:
        return ()
    sides = np.array([_sides(image_HWC) for image_HWC in images_HWC])
    agree = [(side, (sides == side).mean(axis=0) > 0.5) for side in (-1, 1)]
    return tuple(sum(side * held for side, held in agree).tolist())


def _sides(image_HWC: NDArray[Any]) -> list[int]:
    rims = (image_HWC[[0, -1]], image_HWC[:, [0, -1]].swapaxes(0, 1))
    rim_C = np.median(np.concatenate(rims, axis=1), axis=(0, 1))
    planes = np.moveaxis(image_HWC[::STEP, ::STEP], 2, 0)
    return [_side(plane_HW, float(rim)) for plane_HW, rim in zip(planes, rim_C, strict=True)]


def _side(plane_HW: NDArray[Any], rim: float) -> int:
    low, high = np.percentile(without_extremes(plane_HW).rising, (5, 95))
    share = (rim - low) / (high - low) if high > low else 0.5
    return int(share > BRIGHT) - int(share < DARK)


def bright_among_dark(table: pd.DataFrame) -> Iterator[str]:
    """The note on such patients, by the channels that most have dark."""
    of_patient = table.groupby("patient")["background"].first()
    channels = pd.DataFrame([dict(enumerate(sides)) for sides in of_patient], of_patient.index)
    usual = [c for c in channels.columns if (channels[c] < 0).sum() > (channels[c] > 0).sum()]
    bright = channels.index[(channels[usual] > 0).any(axis=1)]
    if len(bright):
        yield (
            f"{len(bright)} of {len(channels)} patients have a bright background, others a dark "
            f"one (inverted, or padded with white): {some(bright)}"
        )
