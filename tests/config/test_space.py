"""Only what is searched is drawn, on the branches taken; every point drawn or given is legal."""

from collections.abc import Iterator
from random import Random
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler

from brainseg.config.distributions import (
    Choice,
    Distribution,
    Integers,
    LogUniform,
    Params,
    Uniform,
)
from brainseg.config.hyperparameters import (
    AdamW,
    Plain,
    Sgd,
    TrialConfig,
)
from brainseg.config.schema import (
    flatten,
)
from brainseg.config.space import Space
from tests.support.breakfast import Breakfast

EVERYTHING = Space(TrialConfig(), search=("*",))


def trials(count: int) -> Iterator[optuna.Trial]:
    """Real trials of one study, drawn at random from one seed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(count):
        yield study.ask()


def draws(space: Space[Any], count: int = 30) -> list[Params]:
    return [space(trial) for trial in trials(count)]


def test_a_point_at_random_follows_from_the_seed_and_lies_in_every_range() -> None:
    space = Space(TrialConfig(), search=("*",), narrow={"epochs": Integers(10, 50, 20)})
    ranges = space.distributions()
    points = [space.sample(Random(seed)) for seed in range(100)]
    assert points == [space.sample(Random(seed)) for seed in range(100)]
    assert all(ranges[path].holds(value) for point in points for path, value in point.items())
    assert {point["epochs"] for point in points} == {10, 30, 50}
    assert {point["optimizer"] for point in points} == {"adamw", "adam", "sgd"}
    rates = [float(p["optimizer.sgd.lr"]) for p in points if p["optimizer"] == "sgd"]
    assert sum(rate < 0.03 for rate in rates) > len(rates) / 4, "every decade equally likely"


# Drawing


def test_every_draw_builds_and_only_searched_paths_of_the_branches_taken_are_drawn() -> None:
    ranges = EVERYTHING.distributions()
    taken = set()
    for drawn in draws(EVERYTHING, 200):
        full = flatten(EVERYTHING.config(drawn))
        assert drawn == {path: value for path, value in full.items() if path in ranges}
        assert all(ranges[path].holds(value) for path, value in drawn.items())
        taken |= set(drawn)
    assert taken == set(ranges)


def test_no_name_ever_has_two_distributions() -> None:
    by_path: dict[str, set[optuna.distributions.BaseDistribution]] = {}
    for trial in trials(200):
        EVERYTHING(trial)
        for path, distribution in trial.distributions.items():
            by_path.setdefault(path, set()).add(distribution)
    assert {len(distributions) for distributions in by_path.values()} == {1}


def test_a_path_is_drawn_only_on_its_own_branch() -> None:
    for drawn in draws(Space(TrialConfig(), search=("optimizer*",))):
        assert ("optimizer.sgd.momentum" in drawn) == (drawn["optimizer"] == "sgd")


def test_a_space_that_searches_nothing_draws_nothing() -> None:
    base = TrialConfig(epochs=3)
    space = Space(base, search=())
    assert draws(space, 1) == [{}]
    assert space.config({}) == base
    assert space.distributions() == {}


def test_draws_keep_to_the_step_of_their_range() -> None:
    eggs = {drawn["eggs"] for drawn in draws(Space(Breakfast(), search=("eggs",)))}
    assert eggs == {0, 2, 4}
    assert not Integers(0, 4, 2).holds(3)


def test_narrow_replaces_a_field_s_own_range() -> None:
    space = Space(TrialConfig(), search=("optimizer*",), narrow={"optimizer": Choice("sgd")})
    assert {drawn["optimizer"] for drawn in draws(space)} == {"sgd"}
    assert space.distributions()["optimizer"] == Choice("sgd")


def test_narrow_gives_a_range_to_a_field_that_has_none() -> None:
    space = Space(
        TrialConfig(), search=("image_size",), narrow={"image_size": Choice(128, 192, 256)}
    )
    assert {drawn["image_size"] for drawn in draws(space)} == {128, 192, 256}


def test_a_range_for_a_path_that_is_not_searched_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.adamw\.lr"):
        Space(
            TrialConfig(),
            search=("epochs",),
            narrow={"optimizer.adamw.lr": LogUniform(1e-4, 1e-3)},
        )


@pytest.mark.parametrize(
    ("path", "distribution"),
    [
        ("epochs", Integers(-5, 5)),
        ("epochs", Uniform(1.0, 5.0)),
        ("optimizer", Choice("adamw", "lion")),
        ("model.encoder.decoder", Choice("unet", "pan")),
    ],
)
def test_a_range_that_holds_illegal_values_is_refused_before_anything_is_drawn(
    path: str, distribution: Distribution
) -> None:
    with pytest.raises(ValueError, match=path):
        Space(TrialConfig(), search=(path,), narrow={path: distribution})


def test_what_is_fixed_is_held_on_any_branch_and_not_drawn() -> None:
    space = Space(TrialConfig(), search=("optimizer*",), fixed={"optimizer.sgd.lr": 0.5})
    assert "optimizer.sgd.lr" not in space.distributions()
    optimizers = [space.config(drawn).optimizer for drawn in draws(space)]
    rates = {type(optimizer): set[float]() for optimizer in optimizers}
    for optimizer in optimizers:
        rates[type(optimizer)].add(optimizer.lr)
    assert rates[Sgd] == {0.5}
    assert len(rates[AdamW]) > 1


def test_a_branch_can_be_fixed() -> None:
    space = Space(TrialConfig(), search=("optimizer*",), fixed={"optimizer": "sgd"})
    for drawn in draws(space):
        assert set(drawn) == {
            f"optimizer.sgd.{name}" for name in ("lr", "momentum", "weight_decay")
        }
        assert isinstance(space.config(drawn).optimizer, Sgd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"search": ("optimzer*",)},
            "no searchable hyperparameter matches 'optimzer*'; did you mean 'optimizer' or "
            "'optimizer.sgd.lr' or 'optimizer.adam.lr'?",
        ),
        (
            {"search": ("image_size",)},
            "no searchable hyperparameter matches 'image_size'; did you mean 'batch_size'?",
        ),
        (
            {"search": ("*",), "narrow": {"epoch": Integers(1, 3)}},
            "there is no hyperparameter 'epoch'; did you mean 'epochs'?",
        ),
        (
            {"search": ("*",), "fixed": {"epoch": 3}},
            "there is no hyperparameter 'epoch'; did you mean 'epochs'?",
        ),
        (
            {"search": ("*",), "fixed": {"loss.focaltversky.smooth": -1}},
            "loss.focaltversky.smooth must be above 0, got -1.0",
        ),
        (
            {"base": TrialConfig(epochs=0), "search": ("optimizer",)},
            "epochs must be at least 1, got 0",
        ),
    ],
)
def test_a_space_that_could_not_be_drawn_from_is_refused_when_it_is_made(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Space(**{"base": TrialConfig()} | arguments)
    assert str(error.value) == message


# Points to try first


def test_a_split_point_is_the_same_config_again() -> None:
    space = Space(
        TrialConfig(), search=("model", "model.encoder.*", "optimizer*"), fixed={"epochs": 5}
    )
    for drawn in draws(EVERYTHING):
        point = {path: v for path, v in drawn.items() if not path.startswith("model.plain")}
        searched, pinned = space.split(point)
        assert set(searched) <= set(space.distributions())
        assert not set(pinned) & set(space.distributions())
        assert space.config(searched | pinned) == space.config(point)


def test_a_point_overrides_what_is_fixed_and_the_base() -> None:
    space = Space(TrialConfig(), search=("optimizer*",), fixed={"epochs": 5})
    searched, pinned = space.split({"epochs": 9, "image_size": 64})
    assert pinned == {"epochs": 9, "image_size": 64}
    assert searched == {
        "optimizer": "adamw",
        "optimizer.adamw.lr": 0.001,
        "optimizer.adamw.weight_decay": 0.01,
        "optimizer.adamw.beta1": 0.9,
    }


def test_a_trial_enqueued_with_a_split_point_draws_that_point() -> None:
    space = Space(TrialConfig(), search=("model", "model.encoder.*", "optimizer*"))
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for point in ({"model": "plain"}, {"model.encoder.freeze": "whole", "optimizer": "sgd"}):
        searched, _ = space.split(point)
        study.enqueue_trial(searched)
        assert space(study.ask()) == searched


def test_what_a_point_pins_is_held_while_the_rest_is_drawn() -> None:
    space = Space(TrialConfig(), search=("model.encoder.name", "optimizer.adamw.lr"))
    searched, pinned = space.split({"model": "plain", "optimizer.adamw.lr": 0.002})
    assert pinned == {"model": "plain"}
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.enqueue_trial(searched)
    held = space.holding(pinned)
    drawn = held(study.ask())
    assert drawn == {"optimizer.adamw.lr": 0.002}
    assert held.config(drawn) == TrialConfig(model=Plain(), optimizer=AdamW(lr=0.002))


def test_a_point_outside_the_range_searched_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        Space(TrialConfig(), search=("epochs",)).split({"epochs": 200})
    assert str(error.value) == (
        "epochs=200 is outside the range searched, Integers(low=10, high=100, step=1); "
        "widen the range or leave the point out"
    )


def test_a_base_outside_the_range_searched_is_refused_as_a_point() -> None:
    space = Space(TrialConfig(epochs=3), search=("epochs",))
    with pytest.raises(ValueError, match="epochs=3 is outside the range searched"):
        space.split({})
