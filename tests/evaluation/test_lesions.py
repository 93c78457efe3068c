"""Lesions are what a flood fill over 26 neighbours finds."""

import numpy as np
import pytest

from brainseg.evaluation.lesions import Lesions, lesions
from tests.support.mask_pairs import mask_pairs

Voxel = tuple[int, ...]
STEPS = [np.subtract(step, 1) for step in np.ndindex(3, 3, 3)]


def parts_of(mask: np.ndarray) -> list[set[Voxel]]:
    """Connected parts by flood fill."""
    left, parts = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}, []
    while left:
        part, front = set(), {left.pop()}
        while front:
            part |= front
            near = {tuple(np.add(voxel, step).tolist()) for voxel in front for step in STEPS}
            front = near & left
            left -= front
        parts.append(part)
    return parts


def test_lesions_are_those_of_a_flood_fill() -> None:
    for pair in mask_pairs(60):
        true, predicted = parts_of(pair.true), parts_of(pair.predicted)
        assert lesions(pair.true, pair.predicted) == Lesions(
            true=len(true),
            found=sum(any(part & other for other in predicted) for part in true),
            predicted=len(predicted),
            false=sum(not any(part & other for other in true) for part in predicted),
        ), pair.name


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert lesions(mask, mask) == Lesions(true=1, found=1, predicted=1, false=0)
    mask[1, 1, 1], mask[2, 2, 2] = False, True
    assert lesions(mask, mask) == Lesions(true=2, found=2, predicted=2, false=0)


def test_one_voxel_finds_a_lesion_and_one_part_may_find_two() -> None:
    true = np.zeros((1, 5, 9), np.uint8)
    true[0, 1:4, :3] = true[0, 1:4, 6:] = 1
    predicted = np.zeros_like(true)
    predicted[0, 2, 2:7] = 255
    predicted[0, 4, 4] = 255
    assert lesions(true, predicted) == Lesions(true=2, found=2, predicted=2, false=1)


def test_lesions_far_apart_in_a_large_volume_are_counted_in_the_boxes_around_them() -> None:
    true, predicted = np.zeros((2, 60, 80, 80), bool)
    true[2, 3, 4] = true[58, 78, 79] = predicted[58, 78, 79] = predicted[30, 0, 0] = True
    assert lesions(true, predicted) == Lesions(true=2, found=1, predicted=2, false=1)


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 3\) and \(3, 3\)"):
        lesions(np.ones((2, 3, 3)), np.ones((3, 3)))
