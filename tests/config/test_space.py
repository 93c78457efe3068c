"""One flat dict describes a config; only what was set loose is drawn, and the rules always hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, nan
from random import Random
from typing import Annotated, Any, Literal

import optuna
import pytest
from optuna.samplers import RandomSampler

from brainseg.config.distributions import (
    Above,
    Choice,
    Distribution,
    Integers,
    LogUniform,
    Params,
    Uniform,
    Within,
)
from brainseg.config.hyperparameters import (
    AdamW,
    Cosine,
    Encoder,
    First,
    Plain,
    Sgd,
    TrialConfig,
    Whole,
)
from brainseg.config.schema import (
    Leaf,
    build,
    did_you_mean,
    flatten,
    leaf_of,
    leaves,
    parse,
    schema,
)
from brainseg.config.space import Space

EVERYTHING = Space(TrialConfig(), search=("*",))
LEAVES = list(leaves(TrialConfig))
CONFIGS = [
    TrialConfig(),
    TrialConfig(model=Plain(width=8, depth=2), optimizer=Sgd(lr=0.3), image_size=64),
    TrialConfig(model=Encoder(freeze=First(blocks=3)), schedule=Cosine(floor=0.5), seed=7),
]


@dataclass(frozen=True, kw_only=True)
class Tea:
    grams: Annotated[float, Uniform(1.0, 5.0), Above(0)] = 2.0


@dataclass(frozen=True, kw_only=True)
class Coffee:
    beans: Tea = Tea()  # a part that is no choice
    roast: Literal["light", "dark"] = "dark"


@dataclass(frozen=True, kw_only=True)
class Breakfast:
    drink: Tea | Coffee = Tea()
    eggs: Annotated[int, Integers(0, 4, 2)] = 2


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


def branch_to(path: str) -> Params:
    """The choices under which ``path`` exists."""
    choices = {leaf.path for leaf in LEAVES if leaf.branches}
    return {
        choice: path.removeprefix(f"{choice}.").split(".")[0]
        for choice in choices
        if path.startswith(f"{choice}.")
    }


def ends(distribution: Distribution) -> tuple[Any, ...]:
    if isinstance(distribution, Choice):
        return distribution.options
    return distribution.low, distribution.high


# A config as a flat dict, and back


@pytest.mark.parametrize("config", CONFIGS)
def test_a_flattened_config_builds_the_same_config(config: TrialConfig) -> None:
    assert build(TrialConfig(), flatten(config)) == config


def test_the_paths_of_a_config_are_branch_qualified_and_in_the_order_of_its_fields() -> None:
    assert flatten(Breakfast()) == {"drink": "tea", "drink.tea.grams": 2.0, "eggs": 2}
    assert list(flatten(Breakfast(drink=Coffee()))) == [
        "drink",
        "drink.coffee.beans.grams",
        "drink.coffee.roast",
        "eggs",
    ]


def test_what_is_not_named_stays_as_in_the_base() -> None:
    base = TrialConfig(optimizer=AdamW(lr=0.002, weight_decay=0.5), epochs=7)
    assert build(base, {"optimizer.adamw.lr": 0.003}) == TrialConfig(
        optimizer=AdamW(lr=0.003, weight_decay=0.5), epochs=7
    )


def test_another_branch_begins_with_its_own_defaults() -> None:
    base = TrialConfig(optimizer=AdamW(lr=0.002))
    assert build(base, {"optimizer": "sgd"}).optimizer == Sgd()


def test_a_whole_number_passes_for_a_float_and_becomes_one() -> None:
    clip_norm = build(TrialConfig(), {"clip_norm": 2}).clip_norm
    assert clip_norm == 2.0 and type(clip_norm) is float


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.path)
def test_every_hyperparameter_has_a_legal_default_of_its_type(leaf: Leaf) -> None:
    default = flatten(build(TrialConfig(), branch_to(leaf.path)))[leaf.path]
    assert type(default) is leaf.kind


@pytest.mark.parametrize(
    "leaf", [leaf for leaf in LEAVES if leaf.distribution], ids=lambda leaf: leaf.path
)
def test_a_field_s_own_range_stays_within_what_is_legal(leaf: Leaf) -> None:
    assert leaf.distribution
    for value in ends(leaf.distribution):
        point = branch_to(leaf.path) | {leaf.path: value}
        assert flatten(build(TrialConfig(), point))[leaf.path] == value


# Refusals


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"optimizer.sgd.momentum": 0.9},
            "optimizer.sgd.momentum exists only on another branch; taken are model=encoder, "
            "model.encoder.freeze=nothing, optimizer=adamw, schedule=cosine, loss=dice",
        ),
        (
            {"optimizer.adamw.weight_decya": 0.1},
            "there is no hyperparameter 'optimizer.adamw.weight_decya'; did you mean "
            "'optimizer.adamw.weight_decay' or 'optimizer.adam.weight_decay' or "
            "'optimizer.sgd.weight_decay'?",
        ),
        (
            {"momentum": 0.1},
            "there is no hyperparameter 'momentum'; did you mean 'optimizer.sgd.momentum'?",
        ),
        ({"wings": 2}, "there is no hyperparameter 'wings'"),
        ({"epochs": 1.5}, "epochs takes a value of type int, got 1.5"),
        ({"epochs": True}, "epochs takes a value of type int, got True"),
        ({"sync_batch_norm": 1}, "sync_batch_norm takes a value of type bool, got 1"),
        ({"optimizer.adamw.lr": "1"}, "optimizer.adamw.lr takes a value of type float, got '1'"),
        ({"optimizer": 1}, "optimizer takes a value of type str, got 1"),
        (
            {"optimizer": "sdg"},
            "optimizer must be one of adamw, adam, sgd, got 'sdg'; did you mean 'sgd'?",
        ),
        (
            {"model.encoder.decoder": "unet++"},
            "model.encoder.decoder must be one of unet, unetplusplus, manet, fpn, "
            "deeplabv3plus, segformer, got 'unet++'; did you mean 'unet'?",
        ),
        ({"optimizer.adamw.lr": 0}, "optimizer.adamw.lr must be above 0, got 0.0"),
        ({"optimizer.adamw.lr": nan}, "optimizer.adamw.lr must be above 0, got nan"),
        ({"optimizer.adamw.lr": inf}, "optimizer.adamw.lr must be above 0, got inf"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        (
            {"model": "plain", "model.plain.depth": 9},
            "model.plain.depth must be from 1 to 6, got 9",
        ),
    ],
)
def test_a_wrong_path_type_or_value_is_refused_by_its_rule(params: Params, message: str) -> None:
    with pytest.raises(ValueError) as error:
        build(TrialConfig(), params)
    assert str(error.value) == message


def test_a_value_outside_the_range_searched_is_no_fault_in_a_run_by_hand() -> None:
    assert build(TrialConfig(), {"optimizer.adamw.lr": 0.5, "epochs": 1}).epochs == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: Uniform(1.0, 1.0),
        lambda: Uniform(nan, 1.0),
        lambda: LogUniform(0.0, 1.0),
        lambda: LogUniform(2.0, 1.0),
        lambda: Integers(3, 3),
        lambda: Integers(0, 4, 0),
        lambda: Choice(),
        lambda: Choice(8, 8),
    ],
)
def test_a_range_that_holds_nothing_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        nonsense()


@pytest.mark.parametrize("rule", [Above(0), Within(0), Within(0, 1)])
def test_no_rule_allows_what_is_not_a_number_or_not_finite(rule: Above | Within) -> None:
    assert not any(rule.allows(value) for value in (nan, inf, -inf))


def test_above_leaves_its_bound_out_and_within_takes_both_in() -> None:
    assert not Above(0).allows(0) and Above(0).allows(1e-9)
    assert Within(0, 1).allows(0) and Within(0, 1).allows(1) and not Within(0, 1).allows(1.001)


def test_a_name_unlike_all_others_gets_no_suggestion() -> None:
    assert did_you_mean("zebra", ["epochs", "seed"]) == ""


# The command line


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("epochs=3", ("epochs", 3)),
        (" epochs = 3 ", ("epochs", 3)),
        ("sync_batch_norm=True", ("sync_batch_norm", True)),
        ("sync_batch_norm=false", ("sync_batch_norm", False)),
        ("optimizer.sgd.lr=1e-3", ("optimizer.sgd.lr", 0.001)),
        ("clip_norm=2", ("clip_norm", 2.0)),
        ("optimizer=sgd", ("optimizer", "sgd")),
        ("model.encoder.weights=/data/a=b.pth", ("model.encoder.weights", "/data/a=b.pth")),
    ],
)
def test_an_assignment_is_read_as_the_path_s_own_type(
    assignment: str, expected: tuple[str, Any]
) -> None:
    path, value = parse(TrialConfig, assignment)
    assert (path, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "expected path=value, got 'epochs'"),
        ("epoch=3", "there is no hyperparameter 'epoch'; did you mean 'epochs'?"),
        (
            "lr=0.1",
            "lr must be one of given, auto, got '0.1'; did you mean 'optimizer.adamw.lr' or "
            "'optimizer.adam.lr' or 'optimizer.sgd.lr'?",
        ),
        ("epochs=", "epochs takes a value of type int, got ''"),
        ("epochs=3.5", "epochs takes a value of type int, got '3.5'"),
        ("epochs=-1", "epochs must be at least 1, got -1"),
        ("sync_batch_norm=yes", "sync_batch_norm takes a value of type bool, got 'yes'"),
        ("precision=half", "precision must be one of auto, float32, bfloat16, got 'half'"),
    ],
)
def test_an_assignment_that_cannot_be_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(TrialConfig, assignment)
    assert str(error.value) == message


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_written_as_assignments_is_read_back_the_same(config: TrialConfig) -> None:
    lines = [f"{path}={value}" for path, value in flatten(config).items()]
    assert build(TrialConfig(), dict(parse(TrialConfig, line) for line in lines)) == config


# Drawing


def test_every_draw_builds_and_only_what_is_loose_on_the_branches_taken_is_drawn() -> None:
    ranges = EVERYTHING.distributions()
    taken = set()
    for drawn in draws(EVERYTHING, 200):
        full = flatten(EVERYTHING.config(drawn))
        assert drawn == {path: value for path, value in full.items() if path in ranges}
        assert all(ranges[path].holds(value) for path, value in drawn.items())
        taken |= set(drawn)
    assert taken == set(ranges)


def test_no_name_ever_has_two_distributions() -> None:
    seen: dict[str, set[optuna.distributions.BaseDistribution]] = {}
    for trial in trials(200):
        EVERYTHING(trial)
        for path, distribution in trial.distributions.items():
            seen.setdefault(path, set()).add(distribution)
    assert {len(distributions) for distributions in seen.values()} == {1}


def test_a_condition_is_structure() -> None:
    for drawn in draws(Space(TrialConfig(), search=("optimizer*",))):
        assert ("optimizer.sgd.momentum" in drawn) == (drawn["optimizer"] == "sgd")


def test_nothing_set_loose_is_nothing_drawn() -> None:
    base = TrialConfig(epochs=3)
    space = Space(base, search=())
    assert draws(space, 1) == [{}]
    assert space.config({}) == base
    assert space.distributions() == {}


def test_steps_are_kept_to() -> None:
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
def test_a_space_that_could_not_be_drawn_from_is_refused_at_the_door(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Space(**{"base": TrialConfig()} | arguments)
    assert str(error.value) == message


def test_type_hints_are_walked_once_a_class_however_many_spaces_are_made() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Supper:
        drink: Tea | Coffee = Tea()
        eggs: Annotated[int, Integers(0, 4, 2)] = 2

    before = schema.cache_info().misses
    space = Space(Supper(), search=("*",), fixed={"eggs": 4}, narrow={"drink": Choice("tea")})
    for grams in range(1, 30):
        held = space.holding({"drink.tea.grams": grams})
        assert held.split({"drink": "tea"}) == ({"drink": "tea"}, {})
    assert schema.cache_info().misses == before + 1


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


# What a path tells of itself


def test_leaves_follow_all_branches() -> None:
    assert [leaf.path for leaf in leaves(Breakfast)] == [
        "drink",
        "drink.tea.grams",
        "drink.coffee.beans.grams",
        "drink.coffee.roast",
        "eggs",
    ]


def test_a_leaf_knows_its_type_its_range_its_rule_and_its_options() -> None:
    assert leaf_of(TrialConfig, "optimizer.sgd.momentum") == Leaf(
        path="optimizer.sgd.momentum",
        kind=float,
        distribution=Uniform(0.8, 0.99),
        rule=Within(0, 0.999),
        options=(),
        branches=False,
    )
    assert leaf_of(TrialConfig, "model.encoder.freeze") == Leaf(
        path="model.encoder.freeze",
        kind=str,
        distribution=Choice("nothing", "first", "whole", "gradual"),
        rule=None,
        options=("nothing", "first", "whole", "gradual"),
        branches=True,
    )


def test_freezing_whole_has_nothing_more_to_say() -> None:
    config = build(TrialConfig(), {"model.encoder.freeze": "whole"})
    assert config.model == Encoder(freeze=Whole())
    assert not [path for path in flatten(config) if path.startswith("model.encoder.freeze.")]
