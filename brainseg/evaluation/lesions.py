"""Lesions found and lesions made up, counted as connected parts of a patient's masks.

Shapes: S slices, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.evaluation.boxes import Box, box_around

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

    One voxel of overlap is enough: a loose rule, and the only one without a threshold
    to choose. BraTS is looser, it widens true lesions first. A predicted part that covers two
    lesions finds both; it is not counted as a false one.

    Raises:
        ValueError: shapes that differ or have not three axes.
    """
    if true_SHW.shape != predicted_SHW.shape or true_SHW.ndim != 3:
        raise ValueError(
            "masks must share a shape of slices, rows and columns, got "
            f"{true_SHW.shape} and {predicted_SHW.shape}"
        )
    true, predicted = true_SHW != 0, predicted_SHW != 0
    true_box, predicted_box = box_around(true), box_around(predicted)
    true_parts, num_true = ndimage.label(true[true_box], TOUCHING)
    predicted_parts, num_predicted = ndimage.label(predicted[predicted_box], TOUCHING)
    overlap = np.argwhere(true[true_box] & predicted[true_box]) + _first(true_box)
    found = np.unique(true_parts[tuple((overlap - _first(true_box)).T)])
    matched = np.unique(predicted_parts[tuple((overlap - _first(predicted_box)).T)])
    return Lesions(
        true=num_true,
        found=len(found),
        predicted=num_predicted,
        false=num_predicted - len(matched),
    )


def _first(box: Box) -> NDArray[np.int64]:
    return np.array([side.start or 0 for side in box])
