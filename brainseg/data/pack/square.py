"""A slice made square for the network, and what the network says of it brought back.

Shapes: H rows, W columns, C channels.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def to_square(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Pad (H, W) or (H, W, C) with 0 to a centred square, then resize it to ``side``."""
    height, width = pixels.shape[:2]
    square = max(height, width)
    top, left = _margins(height, width)
    padding = [(top, square - height - top), (left, square - width - left), (0, 0)]
    padded = np.pad(pixels, padding[: pixels.ndim])
    method = cv2.INTER_AREA if side < square else cv2.INTER_LINEAR
    return cv2.resize(padded, (side, side), interpolation=method)


def from_square(square_SS: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Undo ``to_square``: resize numbers (side, side) back, and cut the padding off: (H, W).

    None leaves the range of ``square_SS``: a probability stays one. The weights of ``INTER_AREA``
    add up to 1 but for rounding, and of 224 pixels to 34 they make 1.0000002 of 1.
    """
    square = max(height, width)
    top, left = _margins(height, width)
    if square != len(square_SS):
        method = cv2.INTER_AREA if square < len(square_SS) else cv2.INTER_LINEAR
        resized: NDArray[Any] = cv2.resize(square_SS, (square, square), interpolation=method)
        square_SS = resized.clip(square_SS.min(), square_SS.max()).astype(np.float32, copy=False)
    return np.ascontiguousarray(square_SS[top : top + height, left : left + width])


def _margins(height: int, width: int) -> tuple[int, int]:
    """Rows above, and columns to the left of a slice in its square."""
    square = max(height, width)
    return (square - height) // 2, (square - width) // 2
