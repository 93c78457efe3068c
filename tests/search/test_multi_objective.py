"""Several objectives: the front is not dominated; weightings keep the order of each objective."""

import numpy as np
import pytest

from brainseg.search.multi_objective import non_dominated, scalarise
from brainseg.search.observations import Observation


def observed(*scores: float) -> Observation:
    return Observation(params={}, epochs=len(scores), best=scores)


def test_the_front_holds_what_is_not_dominated() -> None:
    values = [[0.9, 100], [0.8, 10], [0.7, 20], [0.9, 120], [0.5, 1]]
    assert non_dominated(values, [True, False]) == [True, True, False, False, True]


def test_equals_do_not_dominate_each_other() -> None:
    assert non_dominated([[0.9, 1], [0.9, 1]], [True, False]) == [True, True]


def test_the_front_agrees_with_brute_force_in_three_objectives() -> None:
    values = np.random.default_rng(0).integers(0, 4, (60, 3)).astype(float)
    kept = non_dominated(values.tolist(), [True, True, False])
    signed = values * [1, 1, -1]
    for row, mine in zip(signed, kept, strict=True):
        beaten = ((signed >= row).all(1) & (signed > row).any(1)).any()
        assert mine == (not beaten)


def test_without_costs_scores_stay_as_they_are() -> None:
    trials = [observed(0.1, 0.2), observed(0.5)]
    assert scalarise([(trial, {}) for trial in trials], np.random.default_rng(0)) == trials


@pytest.mark.parametrize("draw", range(20))
def test_a_trial_better_in_every_objective_is_better_under_every_weighting(draw: int) -> None:
    rng = np.random.default_rng(draw)
    trials = [(observed(0.9), {"parameters": 1e6}), (observed(0.5), {"parameters": 3e7})]
    trials.append((observed(0.4), {}))  # not trained yet: no cost is known
    better, worse, _ = scalarise(trials, rng)
    assert better.best[0] > worse.best[0]


def test_some_weightings_favour_one_objective_and_some_the_other() -> None:
    trials = [(observed(0.9), {"parameters": 3e7}), (observed(0.5), {"parameters": 1e6})]
    first = [
        scalarise(trials, np.random.default_rng(draw))[0].best[0]
        > scalarise(trials, np.random.default_rng(draw))[1].best[0]
        for draw in range(40)
    ]
    assert 5 < sum(first) < 35


def test_a_curve_keeps_its_order() -> None:
    trials = [
        (observed(0.1, 0.4, 0.4, 0.8), {"parameters": 2.0}),
        (observed(0.9), {"parameters": 1.0}),
    ]
    curve = scalarise(trials, np.random.default_rng(3))[0].best
    assert list(curve) == sorted(curve) and curve[1] == curve[2]
