"""PNG and TIFF files of one channel: masks of 0 and 255, probabilities of 16 bits."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.records.files import replacing

TUMOUR = 255  # of a mask: white for people, and read back as tumour
FULL = 65535  # of 16 bits: probability 1


def write_mask(path: Path, mask_HW: NDArray[np.uint8]) -> None:
    """Write a mask of 0 and 1 as black and white."""
    write_pixels(path, mask_HW * np.uint8(TUMOUR))


def write_probabilities(path: Path, probabilities_HW: NDArray[np.float32]) -> None:
    """Write probabilities as 16 bits: 65535 is 1."""
    write_pixels(path, np.rint(probabilities_HW * FULL).astype(np.uint16))


def write_pixels(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write grey (H, W) or colour (H, W, 3; blue first), in the format of the name's suffix."""
    whole, content = cv2.imencode(path.suffix.lower(), pixels)
    assert whole
    with replacing(path) as file:
        file.write(content.tobytes())
