"""The worked examples of Bland and Altman come out as printed."""

import numpy as np
import pytest

from brainseg.evaluation.agreement import agreement

# Peak expiratory flow of 17 people by two meters, in l/min: Bland and Altman (1986), table 1.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_example_of_1986_comes_out() -> None:
    flow = agreement(MINI, LARGE)
    assert flow is not None
    assert flow.patients == 17
    assert flow.bias.value == pytest.approx(-2.1, abs=0.05)
    assert flow.deviation == pytest.approx(38.8, abs=0.05)
    assert (flow.bias.low, flow.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper takes 2 for 1.96: -79.7 and 75.5
    assert flow.lower.value == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.1)
    assert flow.upper.value == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.1)


def test_the_example_of_1999_comes_out() -> None:
    """Systolic blood pressure of 85 people: only mean and deviation of the differences count.

    The paper adds figures that are rounded already.
    """
    noise = np.random.default_rng(0).standard_normal(85)
    differences = -16.29 + 19.61 * (noise - noise.mean()) / noise.std(ddof=1)
    pressure = agreement(np.full(85, 140.0).tolist(), (140 + differences).tolist())
    assert pressure is not None
    assert (pressure.lower.value, pressure.upper.value) == pytest.approx((-54.7, 22.1), abs=0.06)
    assert (pressure.bias.low, pressure.bias.high) == pytest.approx((-20.5, -12.1), abs=0.06)
    assert (pressure.lower.low, pressure.lower.high) == pytest.approx((-61.9, -47.5), abs=0.1)
    assert (pressure.upper.low, pressure.upper.high) == pytest.approx((14.9, 29.3), abs=0.15)


def test_too_much_predicted_is_a_bias_above_0_in_the_unit_of_the_volumes() -> None:
    volumes = agreement([10.0, 20.0, 30.0], [11.0, 21.0, 31.0])
    assert volumes is not None
    assert volumes.bias.value == 1
    assert volumes.deviation == 0
    assert volumes.lower.low == volumes.upper.high == 1


def test_two_patients_say_nothing_about_limits() -> None:
    assert agreement([1, 2], [1, 3]) is None
    assert agreement([], []) is None


def test_volumes_come_in_pairs_and_are_numbers() -> None:
    with pytest.raises(ValueError, match="2 true volumes need as many predicted, got 1"):
        agreement([1, 2], [1])
    with pytest.raises(ValueError, match="finite"):
        agreement([1, 2, 3], [1, 2, float("nan")])
