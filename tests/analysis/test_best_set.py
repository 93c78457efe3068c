"""The set that may hold the best, against a direct reading of its sources, and its promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from benchmarks.coverage import SAME, held, to_best
from benchmarks.study_simulator import World, study
from brainseg.analysis.best_set import BestSet, best_set, pairwise
from brainseg.analysis.estimate import Floats, Trainings, between_trainings, estimate
from brainseg.analysis.pairs import holm, pairs, two_sided


def drawn(count: int, seed: int, *, step: float = 0.0) -> tuple[Floats, Trainings]:
    gains = tuple(-step * c for c in range(count))
    world = World(patients=40, noise="noisy", gains=gains, failures=(0.0,) * count)
    dice_CSP, fold_SP = study(np.random.default_rng(seed), world)
    return dice_CSP, Trainings(fold_SP)


def judged(dice_CSP: Floats, trainings: Trainings) -> BestSet:
    return best_set(pairwise(dice_CSP, trainings), 0.05 / (len(dice_CSP) - 1))


def by_the_book(dice_CSP: Floats, trainings: Trainings) -> list[tuple[bool, float, float, float]]:
    """Edwards and Hsu (1983) for unequal errors, one configuration after the other, in words.

    With D the difference of i to j and w its allowance: i stays if D + w >= 0 for every j. Its
    upper bound is the least D + w, or 0; its lower the least D - w over the others that stay, or 0.
    """
    count, gaps = len(dice_CSP), pairwise(dice_CSP, trainings)

    def allowance(i: int, j: int) -> float:
        return float(stats.t.isf(0.05 / (count - 1), gaps[i][j].freedom)) * gaps[i][j].error

    def others(i: int) -> list[int]:
        return [j for j in range(count) if j != i]

    stays = [all(gaps[i][j].mean + allowance(i, j) >= 0 for j in others(i)) for i in range(count)]
    rows = []
    for i in range(count):
        high = max(0.0, min(gaps[i][j].mean + allowance(i, j) for j in others(i)))
        below = [gaps[i][j].mean - allowance(i, j) for j in others(i) if stays[j]]
        low = min(0.0, *below) if below else 0.0
        rows.append((stays[i], min(gaps[i][j].mean for j in others(i)), low, high))
    return rows


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("step", [0.0, 0.15])
def test_set_and_intervals_are_those_of_edwards_and_hsu(count: int, step: float) -> None:
    for seed in range(5):
        scores = drawn(count, seed, step=step)
        answer, book = judged(*scores), by_the_book(*scores)
        assert answer.may_be_best_C.tolist() == [row[0] for row in book]
        for interval, row in zip(answer.to_best, book, strict=True):
            assert (interval.mean, interval.low, interval.high) == pytest.approx(row[1:])


def test_of_two_configurations_one_leaves_where_the_one_sided_test_says_so() -> None:
    for seed in range(20):
        dice_CSP, trainings = drawn(2, seed, step=0.3)
        gap = estimate(dice_CSP[0] - dice_CSP[1], trainings)
        one_sided = stats.t.sf(gap.mean / gap.error, gap.freedom)
        assert judged(dice_CSP, trainings).may_be_best_C.tolist() == [
            bool(one_sided <= 0.95), bool(one_sided >= 0.05)
        ]  # fmt: skip


def test_equal_scores_stay_together_without_any_distance() -> None:
    dice_CSP, trainings = drawn(1, 0)
    answer = judged(np.repeat(dice_CSP, 3, axis=0), trainings)
    assert answer.may_be_best_C.all()
    assert all((one.low, one.mean, one.high) == (0, 0, 0) for one in answer.to_best)


def test_a_leader_beyond_doubt_is_alone_and_every_other_is_told_how_far_behind() -> None:
    dice_CSP, trainings = drawn(3, 0)
    dice_CSP[1:] -= 0.5
    answer = judged(dice_CSP, trainings)
    assert answer.may_be_best_C.tolist() == [True, False, False]
    lead, *behind = answer.to_best
    assert lead.low == 0 and lead.high > 0.4
    assert all(-0.6 < interval.low < -0.4 and interval.high == 0 for interval in behind)


def test_the_variance_between_trainings_is_drawn_to_the_mean_over_all_pairs() -> None:
    dice_CSP, trainings = drawn(4, 1)
    own = [
        between_trainings((dice_CSP[a] - dice_CSP[b])[None], trainings)[0].item()
        for a in range(4) for b in range(a)
    ]  # fmt: skip
    gap = pairwise(dice_CSP, trainings)[1][0]
    assert gap.training == pytest.approx(max((own[0] + np.mean(own)) / 2, 0))
    assert gap.freedom_training == 2 * trainings.freedom
    two = pairwise(dice_CSP[:2], trainings)[1][0]
    assert two.training == pytest.approx(max(own[0], 0))
    assert two.freedom_training == trainings.freedom


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(2, 5), st.integers(2, 3), st.integers(6, 12)),
        elements=st.floats(0, 1),
    )
)
def test_any_scores_leave_the_leader_in_and_bounds_around_0(dice_CSP: Floats) -> None:
    _, seeds, patients = dice_CSP.shape
    answer = judged(dice_CSP, Trainings(np.tile(np.arange(patients) % 3, (seeds, 1))))
    assert answer.may_be_best_C[dice_CSP.mean((1, 2)).argmax()]
    for stays, interval in zip(answer.may_be_best_C, answer.to_best, strict=True):
        assert -1 <= interval.low <= 0 <= interval.high <= 1
        assert stays or interval.high == 0


@pytest.mark.parametrize(("noise", "least"), [("quiet", 0.92), ("noisy", 0.92)])
def test_a_given_best_among_equals_is_kept_and_all_intervals_cover(
    noise: str, least: float
) -> None:
    """250 studies; 0.92 lies 2.2 standard errors below 0.95."""
    world = World(noise=noise, patients=50, gains=SAME, failures=SAME)
    rng, counts = np.random.default_rng(0), np.zeros(3)
    for _ in range(250):
        dice_CSP, fold_SP = study(rng, world)
        counts += held(judged(dice_CSP, Trainings(fold_SP)), to_best(world))
    kept, size, together = counts / 250
    assert kept >= least and together >= least and size > 6


def test_intervals_of_a_ladder_cover_all_together() -> None:
    """They reach from the set's own bounds: 250 studies, at least 95 % less two errors."""
    world = World(patients=50, gains=tuple(-0.1 * c for c in range(4)), failures=(0.0,) * 4)
    rng, aim_C, counts = np.random.default_rng(0), to_best(world), np.zeros(3)
    for _ in range(250):
        dice_CSP, fold_SP = study(rng, world)
        counts += held(judged(dice_CSP, Trainings(fold_SP)), aim_C)
    kept, size, together = counts / 250
    assert kept >= 0.97 and together >= 0.92 and size < 4


def test_two_noisy_ones_among_quiet_ones_stay_in() -> None:
    world = replace(
        World(patients=50, gains=SAME, failures=SAME), noise=("noisy", "noisy", *["quiet"] * 5)
    )
    rng, kept = np.random.default_rng(0), 0
    for _ in range(150):
        dice_CSP, fold_SP = study(rng, world)
        kept += judged(dice_CSP, Trainings(fold_SP)).may_be_best_C[0]
    assert kept / 150 > 0.91


def test_pairs_hold_every_two_once_with_p_of_student_and_of_holm() -> None:
    dice_CSP, trainings = drawn(4, 2, step=0.2)
    gaps = pairwise(dice_CSP, trainings)
    listed = pairs("abcd", gaps)
    both = [pair.first + pair.second for pair in listed]
    assert both == ["ab", "ac", "ad", "bc", "bd", "cd"]
    assert listed[2].p == two_sided(gaps[0][3]) and listed[2].p_holm >= listed[2].p
    assert listed[2].difference == gaps[0][3].of_difference()


def test_holm_s_p_values_are_those_of_his_procedure() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])
