"""Which trials continue beyond a rung, at which epoch, and compared with which others."""

import numpy as np
import pytest

from brainseg.search.halving import Halving, TrialProgress, smoothed_best

HALVING = Halving(grace=4, reduction=3)


def at(name: str, score: float, epoch: int = 4, epochs: int = 36, cycle: int = 0) -> TrialProgress:
    """A trial that waits at ``epoch``; its score was half as high until then."""
    best = (score / 2,) * (epoch - 1) + (score,)
    return TrialProgress(trial=name, epochs=epochs, best=best, cycle=cycle, state="paused")


def test_rungs_lie_at_grace_times_powers_of_the_reduction_and_none_near_the_end() -> None:
    assert HALVING.rungs(200) == (4, 12, 36, 108)
    assert HALVING.rungs(30) == (4, 12)
    assert HALVING.rungs(17) == (4,)
    assert HALVING.rungs(4) == ()


@pytest.mark.parametrize("cycle", [1, 2, 5, 8, 11, 40])
def test_rungs_of_a_cyclical_schedule_are_the_first_ends_of_cycles(cycle: int) -> None:
    plain, rungs = HALVING.rungs(100), HALVING.rungs(100, cycle)
    assert all(rung % cycle == 0 for rung in rungs) and len(set(rungs)) == len(rungs)
    assert all(any(0 <= rung - other < cycle for other in plain) for rung in rungs)


def test_a_trial_pauses_at_each_rung_and_then_runs_to_its_end() -> None:
    pauses = [HALVING.next_pause(at("a", 0.5, epoch)) for epoch in (1, 3, 4, 11, 12, 24)]
    assert pauses == [4, 4, 12, 12, 36, 36]
    assert HALVING.next_pause(TrialProgress(trial="a", epochs=36)) == 4


def test_the_smoothed_best_is_the_best_epoch_at_first_and_later_the_mean_of_the_best_fifth() -> (
    None
):
    lucky = smoothed_best([0.9, *[0.5] * 29])
    assert lucky[:9] == (0.9,) * 9
    assert lucky[9] == pytest.approx(0.7)
    assert lucky[29] == pytest.approx((0.9 + 5 * 0.5) / 6)
    steady = smoothed_best([0.6] * 30)
    assert steady[0] < lucky[0] and steady[29] > lucky[29]


def test_the_smoothed_best_does_not_look_ahead() -> None:
    dice = np.random.default_rng(0).random(25).tolist()
    assert smoothed_best(dice)[:11] == smoothed_best(dice[:11])
