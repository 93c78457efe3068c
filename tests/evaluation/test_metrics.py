"""Pixels are counted, counts add up, and every score is a ratio of sums taken once."""

import numpy as np
import pandas as pd
import pytest
import segmentation_models_pytorch as smp
import torch

from brainseg.evaluation.metrics import (
    Counts,
    count_pixels,
    dice,
    iou,
    patient_table,
    per_patient,
    summary,
)

RNG = np.random.default_rng(0)
PATIENTS = ["b", "a", "b", "c", "a", "b", "c", "c"]  # c has no tumour, and one false alarm
TRUE_SHW = RNG.random((8, 6, 6)) < 0.3
TRUE_SHW[[2, 3, 6, 7]] = False
PREDICTED_SHW = TRUE_SHW ^ (RNG.random((8, 6, 6)) < 0.2)
PREDICTED_SHW[[2, 6, 7]] = False


def counted(predicted_SHW: np.ndarray, true_SHW: np.ndarray) -> Counts:
    logits_SHW = torch.where(torch.as_tensor(predicted_SHW), 3.0, -3.0)
    return count_pixels(logits_SHW, torch.as_tensor(true_SHW).to(torch.uint8)).numpy()


COUNTS_S3 = counted(PREDICTED_SHW, TRUE_SHW)


def overlap(predicted: np.ndarray, true: np.ndarray) -> float:
    """Dice as sets are written in words, for any set of pixels."""
    sizes = predicted.sum() + true.sum()
    return 2 * (predicted & true).sum() / sizes if sizes else 1.0


def jaccard(predicted: np.ndarray, true: np.ndarray) -> float:
    union = (predicted | true).sum()
    return (predicted & true).sum() / union if union else 1.0


# Counting


def test_pixels_are_counted_per_image_as_hits_extras_and_misses() -> None:
    logits_BHW = torch.tensor([[[2.0, 0.1, -1.0], [-3.0, 5.0, -0.5]], [[-1.0] * 3] * 2])
    mask_BHW = torch.tensor([[[1, 0, 1], [1, 1, 0]], [[0] * 3] * 2], dtype=torch.uint8)
    counts = count_pixels(logits_BHW, mask_BHW)
    assert counts.tolist() == [[2, 1, 2], [0, 0, 0]]
    assert counts.dtype == torch.int64


def test_a_probability_of_one_half_is_not_yet_tumour() -> None:
    assert count_pixels(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)).tolist() == [[0, 0, 1]]


# Ratios


@pytest.mark.parametrize(
    ("counts", "expected_dice", "expected_iou"),
    [
        ((2, 1, 2), 4 / 7, 2 / 5),
        ((3, 0, 0), 1, 1),
        ((0, 2, 3), 0, 0),
        ((0, 0, 4), 0, 0),  # all of it missed
        ((0, 5, 0), 0, 0),  # found where nothing is
        ((0, 0, 0), 1, 1),  # rightly left empty
    ],
)
def test_dice_and_iou_by_hand(
    counts: tuple[int, ...], expected_dice: float, expected_iou: float
) -> None:
    assert dice(np.array(counts)) == pytest.approx(expected_dice)
    assert iou(np.array(counts)) == pytest.approx(expected_iou)


def test_dice_and_iou_are_two_scales_of_one_order() -> None:
    counts_S3 = RNG.integers(0, 50, (100, 3))
    assert dice(counts_S3) == pytest.approx(2 * iou(counts_S3) / (1 + iou(counts_S3)))


def test_ratios_keep_every_axis_but_the_last() -> None:
    assert dice(np.ones((4, 5, 3), np.int64)).shape == (4, 5)


# Adding up


def test_counts_add_up_over_any_partition_of_the_slices() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        parts = np.array_split(rng.permutation(8), np.sort(rng.integers(0, 9, 3)))
        shares = np.zeros_like(COUNTS_S3)
        for rows in parts:
            shares[rows] += counted(PREDICTED_SHW[rows], TRUE_SHW[rows])
        assert np.array_equal(shares, COUNTS_S3)
        assert summary(shares, PATIENTS) == summary(COUNTS_S3, PATIENTS)


def test_the_order_of_slices_changes_no_score() -> None:
    order = RNG.permutation(8)
    mixed = summary(COUNTS_S3[order], [PATIENTS[row] for row in order])
    assert mixed == pytest.approx(summary(COUNTS_S3, PATIENTS))


def test_a_patient_s_counts_are_the_sum_of_its_slices_in_order_of_appearance() -> None:
    totals = per_patient(COUNTS_S3, PATIENTS)
    assert list(totals) == ["b", "a", "c"]
    assert totals["a"].tolist() == (COUNTS_S3[1] + COUNTS_S3[4]).tolist()
    assert sum(totals.values()).tolist() == COUNTS_S3.sum(0).tolist()


def test_every_slice_needs_a_patient() -> None:
    with pytest.raises(ValueError):
        per_patient(COUNTS_S3, PATIENTS[:-1])


def table_slice_by_slice(counts_S3: Counts, patients: list[str]) -> pd.DataFrame:
    """The table of each patient as it is told in words: one loop over all of its slices."""
    rows = []
    for patient in dict.fromkeys(patients):
        slices = [row for row, name in enumerate(patients) if name == patient]
        tp, fp, fn = (sum(int(counts_S3[row, k]) for row in slices) for k in range(3))
        row = {"patient": patient, "slices": len(slices)}
        row |= {"tumour_slices": sum(bool(counts_S3[r, 0] or counts_S3[r, 2]) for r in slices)}
        row |= {"tp": tp, "fp": fp, "fn": fn}
        row |= {"dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0}
        rows.append(row | {"iou": tp / (tp + fp + fn) if tp + fp + fn else 1.0})
    return pd.DataFrame(rows)


def test_the_table_of_patients_is_that_of_a_loop_over_their_slices() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        slices = int(rng.integers(1, 40))
        counts_S3 = rng.integers(0, 2**40, (slices, 3)) * (rng.random((slices, 3)) < 0.5)
        patients = [f"patient {n}" for n in rng.integers(0, 1 + slices // 3, slices)]
        expected = table_slice_by_slice(counts_S3, patients)
        table = patient_table(counts_S3, patients)
        pd.testing.assert_frame_equal(table, expected, check_exact=True)
        assert table.to_csv() == expected.to_csv()
        scores = summary(counts_S3, patients)
        assert scores["dice"] == expected["dice"].to_numpy().mean()
        assert scores["iou"] == expected["iou"].to_numpy().mean()


def test_a_sum_over_patients_leaves_the_counts_alone() -> None:
    counts_S3 = COUNTS_S3.copy()
    per_patient(counts_S3, PATIENTS)
    assert np.array_equal(counts_S3, COUNTS_S3)


# The summary, each score from the pixels again


def volumes(patient: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for row, name in enumerate(PATIENTS) if name == patient]
    return PREDICTED_SHW[rows], TRUE_SHW[rows]


def test_dice_and_iou_are_means_over_patients_of_whole_volumes() -> None:
    scores = summary(COUNTS_S3, PATIENTS)
    assert scores["dice"] == pytest.approx(np.mean([overlap(*volumes(p)) for p in "abc"]))
    assert scores["iou"] == pytest.approx(np.mean([jaccard(*volumes(p)) for p in "abc"]))


def test_micro_scores_are_of_all_pixels_at_once() -> None:
    scores = summary(COUNTS_S3, PATIENTS)
    assert scores["micro_dice"] == pytest.approx(overlap(PREDICTED_SHW, TRUE_SHW))
    assert scores["micro_iou"] == pytest.approx(jaccard(PREDICTED_SHW, TRUE_SHW))


def test_slice_scores_are_means_over_slices() -> None:
    scores = summary(COUNTS_S3, PATIENTS)
    each = [overlap(p, t) for p, t in zip(PREDICTED_SHW, TRUE_SHW, strict=True)]
    with_tumour = [score for score, true in zip(each, TRUE_SHW, strict=True) if true.any()]
    assert scores["slice_dice_empty1"] == pytest.approx(np.mean(each))
    assert scores["tumour_slice_dice"] == pytest.approx(np.mean(with_tumour))


def test_false_alarms_are_counted_among_the_tumour_free_slices() -> None:
    assert summary(COUNTS_S3, PATIENTS)["false_alarm"] == pytest.approx(1 / 4)


def test_a_mean_over_no_slices_is_zero() -> None:
    healthy = summary(np.array([[0, 0, 0], [0, 3, 0]]), ["a", "b"])
    assert healthy["tumour_slice_dice"] == 0 and healthy["false_alarm"] == 0.5
    ill = summary(np.array([[5, 0, 0], [1, 3, 1]]), ["a", "b"])
    assert ill["false_alarm"] == 0


def test_scores_are_plain_floats_that_json_takes() -> None:
    assert {type(score) for score in summary(COUNTS_S3, PATIENTS).values()} == {float}


# The library that others use


def test_segmentation_models_pytorch_agrees() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BHW = torch.randn(6, 8, 8, generator=generator)
    mask_BHW = (torch.rand(6, 8, 8, generator=generator) > 0.7).long()
    mask_BHW[4:], logits_BHW[5] = 0, -1.0
    stats = smp.metrics.get_stats(
        logits_BHW[:, None].sigmoid(), mask_BHW[:, None], mode="binary", threshold=0.5
    )
    tp, fp, fn, _ = stats
    counts_S3 = count_pixels(logits_BHW, mask_BHW).numpy()
    assert np.array_equal(counts_S3, torch.cat([tp, fp, fn], dim=1).numpy())
    scores = summary(counts_S3, ["a"] * 6)
    f1, jaccard_score = smp.metrics.f1_score, smp.metrics.iou_score
    assert scores["micro_dice"] == pytest.approx(float(f1(*stats, reduction="micro")))
    assert scores["micro_iou"] == pytest.approx(float(jaccard_score(*stats, reduction="micro")))
    per_image = f1(*stats, reduction="micro-imagewise", zero_division=1.0)
    assert scores["slice_dice_empty1"] == pytest.approx(float(per_image))
