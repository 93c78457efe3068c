"""Figures of predictors that look at no image, worked out by hand and held to the definitions."""

import numpy as np
import pandas as pd
import pytest

from brainseg.evaluation.baselines import (
    MEAN,
    NEAREST,
    NOTHING,
    as_bits,
    baselines,
    mean_mask,
    nearest_slices,
)
from brainseg.evaluation.metrics import summary


def table_of(patients: str, slices: list[int], parts: str) -> pd.DataFrame:
    """One letter a row: its patient, and t, v or l for train, validation or locked away."""
    names = {"t": "train", "v": "validation", "l": "test"}
    return pd.DataFrame(
        {"patient": list(patients), "slice": slices, "part": [names[part] for part in parts]}
    )


def masks_of(*tumours: list[int], side: int = 3) -> np.ndarray:
    """One mask a list: the pixels, counted row by row, that are tumour."""
    masks_NHW = np.zeros((len(tumours), side, side), np.uint8)
    for mask_HW, tumour in zip(masks_NHW, tumours, strict=True):
        mask_HW.flat[tumour] = 1
    return masks_NHW


def scores(masks_NHW: np.ndarray, table: pd.DataFrame, name: str) -> dict[str, float]:
    return next(
        baseline for baseline in baselines(masks_NHW, table) if baseline.name.startswith(name)
    ).scores


def test_predicting_nothing_scores_what_the_definitions_say() -> None:
    table = table_of("aaabbc", [1, 2, 3, 1, 2, 1], "vvvvvt")
    measured = scores(masks_of([], [1, 2], [], [], [], [4]), table, NOTHING)
    assert measured == {
        "dice": 1 / 2,  # b has no tumour
        "iou": 1 / 2,
        "micro_dice": 0,
        "micro_iou": 0,
        "tumour_slice_dice": 0,
        "slice_dice_empty1": 4 / 5,
        "false_alarm": 0,
    }


def test_the_nearest_slice_is_one_of_the_patient_s_own_and_of_two_the_lower() -> None:
    table = table_of("abaabaab", [5, 6, 1, 9, 7, 4, 7, 2], "vtttvltv")
    train = np.flatnonzero(table["part"] == "train")
    scored = np.flatnonzero(table["part"] == "validation")
    # a5: of 1, 7, 9 it is 7; b7 and b2: 6 alone
    assert nearest_slices(table, scored, train).tolist() == [6, 1, 1]
    tied = table_of("aaa", [1, 2, 3], "tvt")
    assert nearest_slices(tied, np.array([1]), np.array([2, 0])).tolist() == [0]


def test_a_patient_without_training_slices_has_no_nearest_one() -> None:
    table = table_of("aab", [1, 2, 1], "tvv")
    assert nearest_slices(table, np.array([1, 2]), np.array([0])).tolist() == [0, -1]


def test_copying_scores_what_the_copied_masks_overlap() -> None:
    table = table_of("aaab", [1, 2, 3, 1], "tvvv")
    measured = scores(masks_of([0, 1], [1, 2], [], [5]), table, NEAREST)
    assert measured["micro_dice"] == pytest.approx(2 * 1 / (2 + 3 + 2))  # tp 1, fp 1 + 2, fn 1 + 1
    assert measured["dice"] == pytest.approx((2 / (2 + 3 + 1) + 0) / 2)
    assert measured["tumour_slice_dice"] == pytest.approx((1 / 2 + 0) / 2)
    assert measured["false_alarm"] == 1


def test_under_a_split_by_patients_there_is_nothing_to_copy() -> None:
    table = table_of("aabb", [1, 2, 1, 2], "ttvv")
    nearest = baselines(masks_of([0], [1], [2], [3]), table)[1]
    assert (nearest.name, nearest.scores) == (NEAREST, {})
    assert nearest.why_not == "no patient has training slices as well"


def test_the_mean_mask_is_cut_where_micro_dice_over_the_training_slices_is_highest() -> None:
    masks_NHW = masks_of([0, 1], [0, 1], [0, 2], [])
    mask_HW, share = mean_mask(as_bits(masks_NHW), (3, 3))
    # from 3/4 on: pixel 0, 2*3/(4+6); from 2/4 on: 0 and 1, 2*5/(8+6); from 1/4 on: 2*6/(12+6)
    assert share == 2 / 4
    assert np.flatnonzero(mask_HW).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_of_the_mean_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks_NHW = (rng.random((17, 9, 10)) < rng.random((9, 10)) ** 3).astype(np.uint8)
    mean_HW = masks_NHW.mean(0)

    def micro_dice(mask_HW: np.ndarray) -> float:
        return 2 * (masks_NHW * mask_HW).sum() / (17 * mask_HW.sum() + masks_NHW.sum())

    mask_HW, share = mean_mask(as_bits(masks_NHW), (9, 10))
    assert np.array_equal(mask_HW, mean_HW >= share)
    best = max(micro_dice(mean_HW >= cut) for cut in np.unique(mean_HW))
    assert micro_dice(mask_HW) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("side", [1, 7, 8, 33])
def test_counting_bits_is_counting_pixels(side: int) -> None:
    rng = np.random.default_rng(0)
    masks_NHW = (rng.random((40, side, side)) < 0.3).astype(np.uint8)
    table = table_of("abcd" * 10, [n // 4 for n in range(40)], "tvvl" * 5 + "vtlt" * 5)
    validation = table["part"] == "validation"
    mask_HW, _ = mean_mask(as_bits(masks_NHW[table["part"] == "train"]), (side, side))
    true, predicted = masks_NHW[validation].astype(int), mask_HW.astype(int)
    pairs = (true * predicted, (1 - true) * predicted, true * (1 - predicted))
    counts_S3 = np.stack([pixels.sum((1, 2)) for pixels in pairs], axis=1)
    patients = table["patient"][validation].tolist()
    assert scores(masks_NHW, table, MEAN) == pytest.approx(summary(counts_S3, patients))


def test_in_folds_every_slice_is_scored_by_predictors_of_the_other_folds() -> None:
    table = table_of("abcd", [1, 1, 1, 1], "tttl").assign(fold=[0, 0, 1, -1])
    masks_NHW = masks_of([0], [0], [0, 1], [5])
    nothing, nearest, mean = baselines(masks_NHW, table)
    # a and b by c's mask: tp 1, fp 1 each; c by that of a and b: tp 1, fn 1
    assert mean.scores["dice"] == mean.scores["micro_dice"] == pytest.approx(2 / 3)
    assert mean.name == "the mean training mask, where 100.0% of slices have tumour"
    assert nothing.scores["dice"] == 0 and nearest.why_not
    table["fold"] = [0, 1, 1, -1]  # b and c teach a what half of them have, a teaches b and c
    mean = baselines(masks_NHW, table)[2]
    assert mean.name == "the mean training mask, where 50.0% to 100.0% of slices have tumour"


def test_the_locked_slices_change_nothing() -> None:
    table = table_of("aaabbb", [1, 2, 3, 1, 2, 3], "tvltvl")
    masks_NHW = masks_of([0], [1], [2, 3, 4], [0], [], [5])
    before = baselines(masks_NHW, table)
    masks_NHW[table["part"] == "test"] = 1
    assert baselines(masks_NHW, table) == before
