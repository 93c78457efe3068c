"""A proposal is a legal point and a new one; the same past and seed give the same proposal."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from brainseg.config.distributions import Choice, Integers, LogUniform, Params, Value
from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.search.observations import Observation
from brainseg.search.proposals.acquisition import expected_improvement, propose
from brainseg.search.proposals.gaussian_process import posterior_mean

ENCODERS = Space(
    TrialConfig(),
    search=("model", "model.encoder.name", "model.encoder.freeze*", "optimizer.adamw.lr"),
)
SPACES = {
    "encoders": ENCODERS,
    "all": Space(TrialConfig(), search=("*",)),
    "fixed": Space(
        TrialConfig(model=Plain(width=16)),
        search=("model*", "optimizer*", "schedule*"),
        fixed={"model.encoder.freeze": "first", "optimizer": "sgd", "model.encoder.decoder": "fpn"},
    ),
    "narrow": Space(
        TrialConfig(),
        search=("model.encoder.*", "schedule*", "epochs", "normalise"),
        narrow={
            "schedule": Choice("triangular", "constant"),
            "schedule.triangular.cycle_epochs": Integers(4, 8, 2),
            "model.encoder.freeze": Choice("first", "gradual"),
            "normalise": Choice("patient", "image"),
        },
    ),
}


class Replay:
    """A trial, as ``Space`` takes one, that repeats a point and refuses what it has not."""

    def __init__(self, point: Mapping[str, Value]) -> None:
        self.point = point

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        value = self.point[name]
        assert isinstance(value, float) and low <= value <= high
        return value

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        value = self.point[name]
        assert isinstance(value, int) and value in range(low, high + 1, step)
        return value

    def suggest_categorical(self, name: str, choices: tuple[Value, ...]) -> Value:
        value = self.point[name]
        assert value in choices
        return value


def score(point: Mapping[str, Value]) -> float:
    """A made-up truth: resnet34 is best, and a rate near 1e-3."""
    rate = np.log10(float(point.get("optimizer.adamw.lr", 1e-2)))
    return 0.8 - 0.3 * (rate + 3) ** 2 - 0.1 * (point.get("model.encoder.name") != "resnet34")


def observed(point: Params, epochs: int = 30, ended: int = 30) -> Observation:
    curve = tuple(score(point) * (1 - np.exp(-e / 5)) for e in range(1, ended + 1))
    return Observation(params=point, epochs=epochs, best=curve, seconds=2.0)


def past(space: Space[TrialConfig], trials: int, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    observations: list[Observation] = []
    for number in range(trials):
        point = propose(space, observations, rng)
        observations.append(observed(point, ended=(4, 12, 30)[number % 3]))
    return observations


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_proposal_is_a_point_that_the_space_could_draw(space: Space[TrialConfig]) -> None:
    for trial in past(space, 16):
        assert space(Replay(trial.params)) == trial.params


def test_values_that_the_space_fixes_may_be_in_observations_as_well() -> None:
    drawn, rng = past(ENCODERS, 9), np.random.default_rng
    whole = [
        Observation(params={**t.params, "seed": 0}, epochs=t.epochs, best=t.best) for t in drawn
    ]
    alone = [Observation(params=t.params, epochs=t.epochs, best=t.best) for t in drawn]
    assert propose(ENCODERS, whole, rng(1)) == propose(ENCODERS, alone, rng(1))


def test_the_same_past_and_seed_give_the_same_proposal() -> None:
    observations = past(ENCODERS, 12)
    first, again, other = (
        propose(ENCODERS, observations, np.random.default_rng(s)) for s in (7, 7, 8)
    )
    assert first == again != other


def test_no_point_is_proposed_twice_while_there_are_others() -> None:
    space = Space(TrialConfig(), search=("model.encoder.name", "batch_size"))
    points = [tuple(trial.params.items()) for trial in past(space, 30)]
    assert len(set(points)) == 30


def test_a_space_that_is_used_up_still_gets_a_legal_point() -> None:
    space = Space(TrialConfig(), search=("batch_size",))
    assert past(space, 12)[-1].params["batch_size"] in (8, 16, 32)


@pytest.mark.parametrize(
    "score",
    [lambda n: (n / 200,) * 30, lambda n: (0.5,) * 30, lambda n: ()],
    ids=["unlike", "equal", "none"],
)
@pytest.mark.parametrize("trials", [0, 1, 5, 6, 7, 130])
def test_a_space_with_nothing_or_one_thing_to_search_gets_that(
    score: Callable[[int], tuple[float, ...]], trials: int
) -> None:
    held = Space(TrialConfig(), search=())
    single = Space(TrialConfig(), search=("batch_size",), narrow={"batch_size": Choice(16)})
    for space, point in ((held, {}), (single, {"batch_size": 16})):
        observations = [
            Observation(params=point, epochs=30, best=score(n), seconds=1.0) for n in range(trials)
        ]
        assert propose(space, observations, np.random.default_rng(0)) == point
        beliefs = posterior_mean(space, observations)
        assert beliefs.shape == (trials,) and np.isfinite(beliefs).all()


def test_with_nothing_to_search_trials_still_differ_by_their_luck() -> None:
    observations = [Observation(params={}, epochs=30, best=(n / 10,) * 30) for n in range(7)]
    assert np.argmax(posterior_mean(Space(TrialConfig(), search=()), observations)) == 6


@pytest.mark.parametrize("best", [(), (0.5,) * 30], ids=["nothing shown", "all equal"])
def test_trials_that_do_not_differ_still_get_a_new_legal_point(best: tuple[float, ...]) -> None:
    observations = [replace(trial, best=best) for trial in past(ENCODERS, 9)]
    point = propose(ENCODERS, observations, np.random.default_rng(0))
    assert ENCODERS(Replay(point)) == point and point not in [
        trial.params for trial in observations
    ]


def test_what_did_well_is_proposed_more_often() -> None:
    names = [trial.params.get("model.encoder.name") for trial in past(ENCODERS, 40)]
    assert names[20:].count("resnet34") > 8, "2 of 20 by chance"


def test_a_value_cut_short_is_not_taken_for_a_final_one() -> None:
    rng = np.random.default_rng(0)
    space = Space(TrialConfig(), search=("optimizer.adamw.lr",))
    short = [observed({"optimizer.adamw.lr": lr}, ended=2) for lr in (0.9e-3, 1e-3, 1.1e-3)]
    whole = [observed({"optimizer.adamw.lr": lr}) for lr in (1e-4, 1.2e-4, 1.5e-4, 4e-3, 5e-3)]
    assert max(t.best[-1] for t in short) < min(t.best[-1] for t in whole)
    rates = [float(propose(space, short + whole, rng)["optimizer.adamw.lr"]) for _ in range(5)]
    assert all(3e-4 < rate < 3e-3 for rate in rates)


def test_two_workers_do_not_get_one_point() -> None:
    space = Space(TrialConfig(), search=("optimizer.adamw.lr",))
    observations = [
        observed({"optimizer.adamw.lr": 10**e}) for e in (-4.0, -3.7, -3.4, -3.3, -2.6, -2.4)
    ]
    first = propose(space, observations, np.random.default_rng(0))
    observations.append(Observation(params=first, epochs=30, running=True))
    second = propose(space, observations, np.random.default_rng(0))
    assert first != second


def test_ranges_are_reached_from_end_to_end() -> None:
    space = Space(
        TrialConfig(),
        search=("optimizer.adamw.lr", "epochs"),
        narrow={"epochs": Integers(1, 3), "optimizer.adamw.lr": LogUniform(1e-4, 1e-1)},
    )
    points = [propose(space, [], np.random.default_rng(seed)) for seed in range(60)]
    assert {point["epochs"] for point in points} == {1, 2, 3}
    rates = [float(point["optimizer.adamw.lr"]) for point in points]
    assert min(rates) < 3e-4 and max(rates) > 3e-2


def test_a_lucky_trial_is_recognised_by_the_trials_like_it() -> None:
    space = Space(TrialConfig(), search=("model.encoder.name",))

    def of(name: str, dice: float) -> Observation:
        return Observation(params={"model.encoder.name": name}, epochs=30, best=(dice,) * 30)

    steady = [of("resnet34", dice) for dice in (0.80, 0.79, 0.81, 0.80)]
    lucky = [of("vgg16", dice) for dice in (0.60, 0.59, 0.82, 0.61)]
    beliefs = posterior_mean(space, [*lucky, *steady])
    assert max(range(8), key=lambda number: beliefs[number]) >= 4


def test_a_trial_without_an_epoch_is_expected_to_score_as_its_configuration() -> None:
    space = Space(TrialConfig(), search=("optimizer.adamw.lr",))
    observations = [
        observed({"optimizer.adamw.lr": 10**e}) for e in (-4.0, -3.6, -3.1, -2.9, -2.6, -2.4)
    ]
    new = [
        Observation(params={"optimizer.adamw.lr": lr}, epochs=30, running=True)
        for lr in (1e-3, 4e-3)
    ]
    beliefs = posterior_mean(space, [new[0], *observations, new[1]])
    assert beliefs.shape == (8,) and beliefs[0] > beliefs[7]
    assert posterior_mean(space, new).tolist() == [0, 0]


def test_expected_improvement_is_the_mean_of_what_exceeds_the_best() -> None:
    mean, spread, best = np.array([0.0, 0.4, -2.0]), np.array([1.0, 0.1, 0.5]), 0.3
    draws = mean + spread * np.random.default_rng(0).standard_normal((400_000, 3))
    simulated = np.maximum(draws - best, 0).mean(0)
    assert expected_improvement(mean, spread, best) == pytest.approx(simulated, abs=2e-3)
