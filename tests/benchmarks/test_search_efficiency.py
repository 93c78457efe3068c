"""The simulator of the search's benchmark: its curves are possible ones, its sweeps repeat."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest

from benchmarks.curve_simulator import Truth, configs, draw_truth, heights, recorded
from benchmarks.search_efficiency import SPACE, best_of, ratio, value
from benchmarks.search_methods import METHODS
from benchmarks.simulated_sweep import Sweep, run
from brainseg.config.distributions import Value
from brainseg.search.proposals.encoding import SpaceEncoder

BUDGET, WORKERS = 8, 2


@cache
def truth(seed: int = 0) -> Truth:
    return draw_truth(recorded(), np.random.default_rng(seed))


def points(count: int = 60, seed: int = 0) -> list[dict[str, Value]]:
    tree = SpaceEncoder(SPACE)
    return [tree.point(row) for row in tree.draw(count, np.random.default_rng(seed))]


def swept(name: str, seed: int = 0) -> tuple[list[tuple[float, float, float]], Sweep]:
    rng, world = np.random.default_rng(seed), truth(seed)
    whole = 30 * float(world.seconds(points()).mean())
    return run(
        METHODS[name](SPACE, rng),
        world,
        budget=BUDGET * whole,
        workers=WORKERS,
        start_seconds=whole / 30,
        epochs=lambda point: 30,
        rng=rng,
    )


@pytest.mark.parametrize("seed", range(3))
def test_simulated_dice_lies_between_0_and_1_and_every_epoch_costs(seed: int) -> None:
    world, rng = truth(seed), np.random.default_rng(seed)
    drawn = points()
    curves = np.array([world.train(point, 30, rng) for point in drawn])
    assert curves.shape == (60, 30) and curves.min() >= 0 and curves.max() <= 1
    assert (world.seconds(drawn) > 0).all()
    quality = world.quality(drawn, 30)
    assert quality.min() >= 0 and quality.max() <= 1
    assert np.corrcoef(curves.max(1), quality)[0, 1] > 0.3, "what is shown tells of what is true"


def test_worlds_differ_and_the_same_seed_gives_the_same_one() -> None:
    drawn = (draw_truth(recorded(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    first, again, other = (world.quality(points(), 30) for world in drawn)
    assert (first == again).all() and not np.allclose(first, other)


def test_an_annealed_schedule_gains_late_and_a_cyclical_one_at_the_ends_of_cycles() -> None:
    cosine, triangular = heights("cosine", 0, 30), heights("triangular", 10, 30)
    assert cosine[-1] < 0.1 < 0.9 < max(cosine[:8])
    assert np.argmin(triangular[5:15]) + 5 in (9, 10)
    assert set(heights("constant", 0, 30)) == {1.0}


def test_an_encoder_that_was_never_recorded_differs_from_world_to_world() -> None:
    point: Mapping[str, Value] = {"model": "encoder", "model.encoder.name": "mit_b2"}
    assert np.std([truth(seed).quality([point], 30)[0] for seed in range(3)]) > 0.01
    assert configs([point], 30).model.tolist() == [10]


@pytest.mark.parametrize("name", METHODS)
def test_a_sweep_keeps_to_its_budget_and_repeats_itself(name: str) -> None:
    (path, sweep), (again, _) = swept(name), swept(name)
    assert path == again
    assert sweep.now * WORKERS <= sweep.budget
    spent = sum(t.seconds * t.epochs_at(sweep.now) for t in sweep.trials)
    assert 0 < spent <= sweep.budget
    assert any(trial.state == "done" for trial in sweep.trials)
    assert sweep.trials[0].params["model"] == "plain", "the report's models come first"


def test_a_method_that_pauses_spends_less_on_a_trial_than_one_that_does_not() -> None:
    _, whole = swept("random")
    _, paused = swept("random + promotion")
    assert len(paused.trials) > len(whole.trials)
    assert any(trial.state == "paused" for trial in paused.trials)


def test_no_trial_is_truly_better_than_the_best_of_its_world() -> None:
    world = truth()
    best, whole = best_of(world, SPACE, np.random.default_rng(0))
    assert whole > 0 and (world.quality(points(500, seed=9), 30) <= best + 1e-3).all()


def test_the_best_so_far_is_read_off_the_path_at_any_time() -> None:
    path = [(1.0, 0.5, 0.4), (3.0, 0.7, 0.6)]
    assert [value(path, spent, 1) for spent in (0.5, 1, 2.9, 3)] == [0, 0.5, 0.5, 0.7]
    assert ratio(np.linspace(1, 0, 100), 0.5) == pytest.approx(2, rel=0.05)
    assert ratio(np.ones(100), 0.5) == 0


def test_trials_that_ours_finishes_are_truly_better_on_average_than_those_of_random_search() -> (
    None
):
    def quality(name: str, seed: int) -> float:
        _, sweep = swept(name, seed)
        done = [trial.params for trial in sweep.trials if trial.state == "done"]
        return float(truth(seed).quality(done, 30).mean())

    gains = [quality("ours", seed) - quality("random", seed) for seed in range(4)]
    assert np.mean(gains) > 0
