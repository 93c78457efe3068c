"""A slice with the outline of the predicted tumour, and of the true one where it is known.

Shapes: H rows, W columns, C channels.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.data.writers.pictures import write_pixels

SIDE = 512  # pixels of the longer side at least, so that outlines stay thin
PREDICTED, TRUE = (0, 165, 255), (255, 255, 0)  # orange, cyan; blue first
OUTLINE = 1  # pixel

Mask = NDArray[np.uint8]


def write_overlay(
    path: Path, grey_HW: NDArray[np.uint8], predicted_HW: Mask, true_HW: Mask | None
) -> None:
    """Write the slice enlarged, the predicted tumour in orange around the true one in cyan."""
    longer = max(grey_HW.shape)
    times = max(1, -(-SIDE // longer))
    size = grey_HW.shape[1] * times, grey_HW.shape[0] * times
    shown: NDArray[Any] = cv2.resize(grey_HW, size, interpolation=cv2.INTER_LINEAR)
    canvas = cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)
    for mask_HW, colour in ((true_HW, TRUE), (predicted_HW, PREDICTED)):
        if mask_HW is not None:
            large = cv2.resize(mask_HW, size, interpolation=cv2.INTER_NEAREST)
            outlines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(canvas, outlines, -1, colour, OUTLINE)
    write_pixels(path, canvas.astype(np.uint8, copy=False))
