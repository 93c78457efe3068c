"""The smallest box around the tumour of a mask: work is done there, not in the whole volume."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, ...]


def box_around(mask: Mask) -> Box:
    """A slice per axis; empty ones where nothing is tumour."""
    sides = []
    for axis in range(mask.ndim):
        others = tuple(k for k in range(mask.ndim) if k != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        sides.append(slice(int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else slice(0))
    return tuple(sides)
