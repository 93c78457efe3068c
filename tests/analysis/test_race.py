"""Who leaves the race: whom another beats, never the two highest, at a shared level."""

from itertools import pairwise as successive

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.coverage import LADDERS, SAME, raced
from benchmarks.study_simulator import World, study
from brainseg.analysis.best_set import pairwise
from brainseg.analysis.estimate import Floats, Trainings
from brainseg.analysis.race import beaten, tail


def drawn(gains: tuple[float, ...], *, seeds: int = 1, seed: int = 0) -> tuple[Floats, Trainings]:
    world = World(patients=60, gains=gains, seeds=seeds, failures=(0.0,) * len(gains))
    dice_CSP, fold_SP = study(np.random.default_rng(seed), world)
    return dice_CSP, Trainings(fold_SP)


def places(scores: tuple[Floats, Trainings], level: float) -> list[int]:
    return [gone.place for gone in beaten(*scores, level)]


def test_one_far_behind_leaves_and_the_note_says_what_beat_it() -> None:
    dice_CSP, trainings = drawn((0.0, 0.0, -2.0))
    [gone] = beaten(dice_CSP, trainings, tail(3, looks=1, last=False))
    gap = pairwise(dice_CSP, trainings)[2][gone.by]
    assert gone.place == 2 and gone.by in (0, 1)
    assert gone.difference == gap.mean
    assert gone.bound == pytest.approx(gap.mean + gap.reach(0.025 / 2)) and gone.bound < 0


def test_the_two_highest_stay_however_far_apart_they_are() -> None:
    assert places(drawn((0.0, -2.0)), 0.05) == []
    dice_CSP, trainings = drawn((0.0, -2.0, -3.0))
    assert places((dice_CSP, trainings), 0.05) == [2]
    assert np.argsort(-dice_CSP.mean((1, 2))).tolist() == [0, 1, 2]


def test_equal_scores_leave_nobody_out() -> None:
    dice_CSP, trainings = drawn((0.0,))
    assert places((np.repeat(dice_CSP, 4, axis=0), trainings), 0.05) == []


def test_a_stricter_level_lets_fewer_leave() -> None:
    scores = drawn(tuple(-0.2 * c for c in range(7)), seeds=2)
    left = [set(places(scores, level)) for level in (1e-6, 0.001, 0.05, 0.4)]
    assert all(few <= many for few, many in successive(left))
    assert len(left[-1]) > len(left[0])


def test_looks_and_comparison_share_the_error_of_the_comparison() -> None:
    assert tail(7, looks=0, last=True) == pytest.approx(0.05 / 6)
    for looks in (1, 2, 4):
        spent = looks * tail(7, looks=looks, last=False) + tail(7, looks=looks, last=True)
        assert spent == pytest.approx(0.05 / 6)


def test_whoever_leaves_is_beaten_in_the_order_of_any_list() -> None:
    dice_CSP, trainings = drawn(tuple(-0.3 * c for c in range(5)), seeds=2)
    order: NDArray[np.int64] = np.random.default_rng(0).permutation(5)
    straight = set(places((dice_CSP, trainings), 0.01))
    assert straight == {int(order[c]) for c in places((dice_CSP[order], trainings), 0.01)}


def test_one_seed_is_judged_by_its_folds() -> None:
    """7 equal ones, one seed of 5 folds: promised 2.5 %, 150 studies, four standard errors."""
    level, rng = tail(7, looks=1, last=False), np.random.default_rng(3)
    world = World(noise="noisy", seeds=1, gains=SAME, failures=SAME)
    gone = 0
    for _ in range(150):
        dice_CSP, fold_SP = study(rng, world)
        gone += 0 in places((dice_CSP, Trainings(fold_SP)), level)
    assert gone / 150 < 0.075


def test_a_race_spends_less_for_about_the_same_set() -> None:
    rng, world = np.random.default_rng(1), LADDERS["steps of 0.01"]
    drawn = [study(rng, world) for _ in range(60)]
    runs = np.array([raced(dice, Trainings(folds)) for dice, folds in drawn])
    lost, size, lost_race, size_race, spent = runs.mean(0)
    assert lost <= 0.05 and lost_race <= 0.05
    assert abs(size - size_race) < 0.5 and 0.5 < spent < 0.85
