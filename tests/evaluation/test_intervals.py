"""Intervals over patients: they cover, they repeat, and where there is none they say why."""

import numpy as np
import pytest
from scipy import stats

from brainseg.evaluation.intervals import Floats, patient_interval

RNG = np.random.default_rng(5)


def ratio(totals: Floats) -> Floats:
    return np.asarray(totals[..., 0] / totals[..., 1])


def of_mean(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values))])


def test_the_interval_of_a_mean_is_near_that_of_student_and_repeats() -> None:
    values = RNG.normal(0.8, 0.05, 200)
    interval = patient_interval(of_mean(values), ratio)
    student = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(student, abs=0.001)
    assert interval == patient_interval(of_mean(values), ratio)
    assert interval != patient_interval(of_mean(values), ratio, seed=1)


def test_nine_of_ten_intervals_of_skewed_dice_hold_the_true_mean() -> None:
    """30 patients, Dice with a long tail to 0: 95 % promised, some less is known for so few."""
    holds = 0
    for _ in range(200):
        interval = patient_interval(of_mean(RNG.beta(6, 1.5, 30)), ratio)
        assert interval.low is not None and interval.high is not None
        holds += interval.low <= 6 / 7.5 <= interval.high
    assert 178 <= holds <= 199


def test_a_ratio_of_sums_is_drawn_by_patients() -> None:
    """Many lesions in few patients: far less is known than of as many independent lesions."""
    found, true = np.array([40, 0, 1, 1, 2, 0]), np.array([40, 40, 1, 1, 2, 2])
    interval = patient_interval(np.column_stack([found, true]), ratio)
    assert interval.low is not None and interval.high is not None
    assert interval.high - interval.low > 0.5
    assert 0 <= interval.low <= 44 / 86 <= interval.high <= 1


def test_a_person_with_two_scans_is_drawn_whole() -> None:
    values = RNG.normal(0, 1, 40)
    twice = of_mean(np.repeat(values, 2))
    persons = [str(n // 2) for n in range(80)]
    alone, whole = patient_interval(of_mean(values), ratio), patient_interval(twice, ratio, persons)
    assert (alone.low, alone.high) == pytest.approx((whole.low, whole.high))
    split = patient_interval(twice, ratio)
    assert split.low is not None and alone.low is not None
    assert split.low > alone.low  # as if there were twice as many people


@pytest.mark.parametrize(
    ("values", "why_not"),
    [
        ([], "0 of 2 persons that it takes"),
        ([0.9], "1 of 2 persons that it takes"),
        ([0.9, 0.9, 0.9], "every draw of persons gives the same value"),
        ([0.1 + 0.2, 0.3, 0.3], "every draw of persons gives the same value"),
    ],
)
def test_where_there_is_no_interval_it_says_why(values: list[float], why_not: str) -> None:
    interval = patient_interval(of_mean(np.array(values)), ratio)
    assert (interval.low, interval.high, interval.why_not) == (None, None, why_not)


def test_one_patient_in_a_hundred_that_differs_still_has_an_interval() -> None:
    values = np.ones(100)
    values[0] = 0
    interval = patient_interval(of_mean(values), ratio)
    assert interval.low is not None and interval.high is not None
    assert interval.low < 0.99 <= interval.high <= 1


def test_what_is_not_finite_is_refused_and_not_left_out() -> None:
    with pytest.raises(ValueError, match="score undefined cases first"):
        patient_interval(of_mean(np.array([0.5, np.nan])), ratio)
    with pytest.raises(ValueError, match="2 patients need as many persons, got 1"):
        patient_interval(of_mean(np.array([0.5, 0.6])), ratio, ["a"])
