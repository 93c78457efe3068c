"""Counts of failures: exact intervals and McNemar's test, against scipy and printed tables."""

import numpy as np
import pytest
from scipy import stats

from brainseg.analysis.estimate import Floats
from brainseg.analysis.failures import failures


def failing(*patients: int, of: int = 20, seeds: int = 2) -> Floats:
    dice_SP = np.full((seeds, of), 0.8)
    dice_SP[:, list(patients)] = 0.0
    return dice_SP


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),  # Clopper and Pearson's charts; the rule of three for 0
    [(0, 20, 0.0, 0.1684), (1, 20, 0.0013, 0.2487), (2, 10, 0.0252, 0.5561), (0, 110, 0.0, 0.033)],
)
def test_the_interval_of_the_share_is_exact(count: int, of: int, low: float, high: float) -> None:
    counted = failures(failing(*range(count), of=of), failing(of=of))
    assert counted.count == count
    assert (counted.low, counted.high) == pytest.approx((low, high), abs=1e-4)
    if count:
        assert counted.low == pytest.approx(stats.beta.ppf(0.025, count, of - count + 1))
        assert counted.high == pytest.approx(stats.beta.ppf(0.975, count + 1, of - count))


def test_the_patients_of_one_of_the_two_alone_are_tested() -> None:
    counted = failures(failing(0, 1, 2, 3, 4, 5), failing(0))
    assert (counted.count, counted.alone, counted.other_alone) == (6, 5, 0)
    assert counted.p == pytest.approx(2 * 0.5**5)  # five of five on one side
    mirrored = failures(failing(0), failing(0, 1, 2, 3, 4, 5))
    assert (mirrored.alone, mirrored.other_alone, mirrored.p) == (0, 5, counted.p)


def test_eight_against_one_has_the_p_of_the_binomial_table() -> None:
    counted = failures(failing(*range(8)), failing(8))
    assert counted.p == pytest.approx(2 * (1 + 9) / 2**9)


def test_without_a_difference_p_is_1() -> None:
    assert failures(failing(), failing()).p == 1
    assert failures(failing(3), failing(3)).p == 1
    assert failures(failing(3), failing(4)).p == 1


def test_a_patient_fails_by_the_mean_over_seeds_below_a_tenth() -> None:
    dice_SP = failing(of=4)
    dice_SP[:, 0] = 0.0, 0.19
    dice_SP[:, 1] = 0.0, 0.2
    assert failures(dice_SP, failing(of=4)).count == 1
