"""What a curve converges to, how rough it is, which trials a configuration stands for."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from brainseg.analysis.claims.curves import convergence, over_trainings, roughness
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


def test_both_curves_are_measured_against_the_lower_level() -> None:
    low, high = [0.1] * 6 + [0.4] * 9, [0.1] * 3 + [0.8] * 12
    assert convergence(low, high) == (9, 3)  # 0.9 of a mean of 0.4 is the level
    assert convergence(high, low) == (3, 9)


def test_the_noise_of_single_epochs_makes_no_curve_converge_sooner() -> None:
    rng, epochs, studies = np.random.default_rng(0), np.arange(1, 31), 300
    truth, sooner = 0.83 * (1 - np.exp(-epochs / 5)), 0

    def curve(noise: float) -> list[float]:
        return (truth + noise * rng.standard_normal(30)).clip(0, 1).tolist()

    for _ in range(studies):
        pairs = [convergence(curve(0.06), curve(0.01)) for _ in range(10)]
        gap = over_trainings(np.array([noisy - calm for noisy, calm in pairs]))
        sooner += gap.mean + gap.reach(0.025) < 0
    assert sooner / studies <= 0.05, "without the moving mean it is 0.66"


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


def test_the_interval_over_trainings_is_student_s() -> None:
    gaps = np.array([0.1, 0.3, 0.2, 0.4])
    gap = over_trainings(gaps)
    assert gap.mean == pytest.approx(0.25)
    assert gap.reach(0.025) == pytest.approx(stats.t.ppf(0.975, 3) * gaps.std(ddof=1) / 2)


def test_identical_differences_give_an_interval_without_width() -> None:
    assert over_trainings(np.array([2.0, 2.0, 2.0])).reach(0.025) == 0
