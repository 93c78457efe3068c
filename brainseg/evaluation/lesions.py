"""Lesions found and lesions made up, counted as connected parts of a patient's masks.

Shapes: S slices, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOUCHING = np.ones((3, 3, 3), bool)  # voxels that share a face, an edge or a corner are connected
LESION_RULE = (
    "A lesion is a connected part of the mask (26 neighbours; 8 in one slice). It is found if any "
    "of its voxels is predicted; a predicted part without any true voxel is a false lesion."
)


@dataclass(frozen=True)
class Lesions:
    """How many there are: whole numbers that add up over patients.

    Attributes:
        true: in the true mask.
        found: of these, with at least one voxel predicted.
        predicted: in the predicted mask.
        false: of these, without any true voxel.
    """

    true: int
    found: int
    predicted: int
    false: int


def lesions(true_SHW: NDArray[Any], predicted_SHW: NDArray[Any]) -> Lesions:
    """Count lesions; what is not 0 is tumour.

    One voxel of overlap is enough: the loosest rule in use, and the only one without a threshold to
    choose (Maier-Hein et al. 2024 call it "any overlap"). A predicted part that covers two lesions
    finds both; it is not counted as a false one.

    Raises:
        ValueError: shapes that differ or have not three axes.
    """
    if true_SHW.shape != predicted_SHW.shape or true_SHW.ndim != 3:
        raise ValueError(
            "masks must share a shape of slices, rows and columns, got "
            f"{true_SHW.shape} and {predicted_SHW.shape}"
        )
    true_parts, num_true = ndimage.label(true_SHW, TOUCHING)
    predicted_parts, num_predicted = ndimage.label(predicted_SHW, TOUCHING)
    both = (true_parts > 0) & (predicted_parts > 0)
    matched = len(np.unique(predicted_parts[both]))
    return Lesions(
        true=num_true,
        found=len(np.unique(true_parts[both])),
        predicted=num_predicted,
        false=num_predicted - matched,
    )
