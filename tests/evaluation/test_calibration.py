"""The calibration error is MONAI's, and bins of patients add up to those of all their pixels."""

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric

from brainseg.evaluation.calibration import (
    MARGIN,
    ece,
    near_tumour,
    reliability,
    reliability_table,
)

RNG = np.random.default_rng(3)


def case(side: int = 40, sharpness: float = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure of themselves, and what is true."""
    logits = RNG.standard_normal((side, side)) * 2
    true = RNG.random((side, side)) < 1 / (1 + np.exp(-logits))
    return (1 / (1 + np.exp(-sharpness * logits))).astype(np.float32), true


@pytest.mark.parametrize("bins", [1, 5, 10, 20])
def test_the_error_is_that_of_monai(bins: int) -> None:
    for _ in range(20):
        probability, true = case(sharpness=float(RNG.uniform(0.2, 5)))
        metric = CalibrationErrorMetric(num_bins=bins, calibration_reduction="expected")
        metric(torch.as_tensor(probability[None, None]), torch.as_tensor(true[None, None]).float())
        monai = float(metric.aggregate())
        assert float(ece(reliability(probability, true, bins))) == pytest.approx(monai, abs=1e-6)


def test_bins_hold_what_a_loop_over_pixels_puts_into_them() -> None:
    probability = np.concatenate([np.arange(21) / 20, RNG.random(500)])
    true = RNG.random(521) < 0.4
    by_hand = np.zeros((10, 3))
    for p, is_tumour in zip(probability, true, strict=True):
        for m in range(10):
            if m / 10 < p <= (m + 1) / 10 or (m == 0 and p == 0):
                by_hand[m] += (1, p, is_tumour)
    bins = reliability(probability, true)
    assert bins == pytest.approx(by_hand)
    table = reliability_table(bins)
    assert table["pixels"].tolist() == by_hand[:, 0].tolist()
    assert table["tumour"].to_numpy() == pytest.approx(by_hand[:, 2] / by_hand[:, 0])
    assert table["probability"].between(table["low"], table["high"]).all()


def test_bins_of_patients_add_up() -> None:
    cases = [case(side) for side in (8, 30, 17)]
    together = reliability(
        np.concatenate([probability.ravel() for probability, _ in cases]),
        np.concatenate([true.ravel() for _, true in cases]),
    )
    assert sum(reliability(*one) for one in cases) == pytest.approx(together)


def test_probabilities_of_half_precision_fall_where_they_fall_in_double() -> None:
    for kind in (np.float16, np.float32):
        probability = (np.arange(0, 21) / 20).astype(kind)
        true = np.zeros(21, bool)
        assert reliability(probability, true)[:, 0].tolist() == [3, *[2] * 9]


def test_a_network_that_means_what_it_says_has_no_error_and_a_liar_has() -> None:
    probability = RNG.random(200_000)
    true = RNG.random(200_000) < probability
    assert ece(reliability(probability, true)) < 0.01
    assert ece(reliability(probability, ~true)) == pytest.approx(0.5, abs=0.01)


def test_the_box_near_tumour_is_wider_by_the_margin_and_stays_in_the_slice() -> None:
    true = np.zeros((50, 60), np.uint8)
    true[20, 3:5] = 1
    rows, columns = near_tumour(true)
    assert (rows.start, columns.start) == (20 - MARGIN, 0)
    assert true[rows, columns].shape == (2 * MARGIN + 1, 5 + MARGIN)
    assert true[near_tumour(np.zeros_like(true))].size == 0


def test_no_pixel_has_no_error_and_an_empty_bin_no_share() -> None:
    nothing = reliability(np.zeros((0, 3)), np.zeros((0, 3)))
    assert np.isnan(ece(nothing))
    assert reliability_table(nothing)[["probability", "tumour"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("probability", "sentence"),
    [
        (np.array([0.5, 1.5]), "got 0.5 to 1.5"),
        (np.array([-0.1, 1]), "got -0.1 to 1.0"),
        (np.array([0.2, np.nan]), "between 0 and 1, got nan"),
        (np.array([0.2]), r"the same, got \(1,\) and \(2,\)"),
    ],
)
def test_what_is_no_probability_is_refused(probability: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        reliability(probability, np.zeros(2))


def test_there_is_a_bin() -> None:
    with pytest.raises(ValueError, match="at least 1 bin, got 0"):
        reliability(np.zeros(2), np.zeros(2), 0)
