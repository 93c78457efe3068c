"""What is done to a mask once it is predicted.

Shapes: S slices, H rows, W columns.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_component(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest connected part of a mask (H, W) or (S, H, W); corners connect.

    Of parts of one size the first counts. A mask without tumour stays as it is.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    kept: NDArray[np.bool_] = labels == 1 + int(sizes.argmax())
    return kept.astype(np.uint8)
