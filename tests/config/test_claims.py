"""What a curve converges to, how rough it is, which trials a configuration stands for."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from brainseg.analysis.curves import convergence, roughness, student_interval
from brainseg.config.claims import (
    Best,
    Faster,
    Rougher,
    Worst,
    configurations_of,
    from_record,
    matches,
    to_record,
)


@pytest.mark.parametrize(
    "claim",
    [
        Best("a", {"model": "plain"}),
        Worst("b", {"model.encoder.name": "vgg16", "epochs": 3}),
        Faster("c", {"model": "encoder"}, {"model": "plain"}),
        Rougher("d", {}),
    ],
)
def test_a_claim_survives_json(claim: Best) -> None:
    assert from_record(json.loads(json.dumps(to_record(claim)))) == claim


def test_a_kind_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="one of best, worst, faster, rougher, got 'kinder'"):
        from_record({"kind": "kinder", "text": "", "arm": {}})


def test_the_configurations_of_a_comparison_are_both() -> None:
    assert configurations_of(Faster("c", {"a": 1}, {"b": 2})) == ({"a": 1}, {"b": 2})


def test_a_configuration_matches_every_trial_that_has_its_values() -> None:
    configuration = {"model": "encoder", "model.encoder.name": "vgg16"}
    assert matches(configuration, {**configuration, "seed": 3})
    assert not matches(configuration, {"model": "plain"})
    assert matches({}, {"model": "plain"})


def test_both_curves_are_measured_against_the_lower_best() -> None:
    low, high = [0.1, 0.4, 0.5], [0.3, 0.46, 0.9]
    assert convergence(low, high) == (3, 2)  # 0.45 is the level
    assert convergence(high, low) == (2, 3)


def test_a_curve_that_never_leaves_zero_has_no_epoch_of_convergence() -> None:
    assert all(map(math.isnan, convergence([0.0, 0.0], [0.2, 0.5])))
    assert all(map(math.isnan, convergence([], [0.2])))


def test_only_the_second_half_counts_for_roughness() -> None:
    assert roughness([0.0, 0.9, 0.1, 0.5, 0.5, 0.5]) == 0
    assert roughness([0.5, 0.5, 0.5, 0.4, 0.6, 0.5]) == pytest.approx(0.15)
    assert roughness([0.9, 0.1, 0.3, 0.4, 0.5]) == pytest.approx(0.1)  # the last three of five


@pytest.mark.parametrize("dice", [[], [0.1], [0.1, 0.9]])
def test_the_roughness_of_two_epochs_is_undefined(dice: list[float]) -> None:
    assert math.isnan(roughness(dice))


def test_the_interval_over_one_axis_is_student_s() -> None:
    gaps = [0.1, 0.3, 0.2, 0.4]
    reach = stats.t.ppf(0.975, 3) * np.std(gaps, ddof=1) / 2
    low, high = student_interval([[gap] for gap in gaps])
    assert (low, high) == pytest.approx((0.25 - reach, 0.25 + reach))
    assert student_interval([gaps]) == pytest.approx((low, high))


def test_more_patients_narrow_the_interval_and_seeds_that_disagree_widen_it() -> None:
    rng = np.random.default_rng(0)
    patients = rng.normal(0.02, 0.03, 40)

    def width(gaps: list[list[float]]) -> float:
        low, high = student_interval(gaps)
        return high - low

    assert width([patients.tolist()]) < width([patients[:8].tolist()])
    wild = [(patients + shift).tolist() for shift in (-0.1, 0.0, 0.1)]
    assert width(wild) > width([patients.tolist()])


def test_the_interval_covers_the_truth_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        gaps = rng.normal(0, 0.05, 10) + rng.normal(0, 0.02, (3, 10)) + rng.normal(0, 0.01, (3, 1))
        low, high = student_interval(gaps.tolist())
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 1


def test_identical_differences_give_an_interval_without_width() -> None:
    assert student_interval([[2.0], [2.0], [2.0]]) == (2.0, 2.0)
