"""One flat dict describes a config and builds it again; every path, type and rule is checked."""

from dataclasses import dataclass
from math import inf, nan
from typing import Annotated, Any

import pytest

from brainseg.config.distributions import (
    Choice,
    Distribution,
    Integers,
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
from tests.support.breakfast import Breakfast, Coffee, Tea

LEAVES = list(leaves(TrialConfig))
CONFIGS = [
    TrialConfig(),
    TrialConfig(model=Plain(width=8, depth=2), optimizer=Sgd(lr=0.3), image_size=64),
    TrialConfig(model=Encoder(freeze=First(blocks=3)), schedule=Cosine(floor=0.5), seed=7),
]


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
            "optimizer.sgd.momentum exists only on another branch; this one takes model=encoder, "
            "model.encoder.freeze=nothing, optimizer=adamw, schedule=cosine, loss=dice; set "
            "optimizer=sgd as well, or leave it out",
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
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"sync_batch_norm": 1}, "sync_batch_norm must be true or false, got 1"),
        ({"optimizer.adamw.lr": "1"}, "optimizer.adamw.lr must be a number, got '1'"),
        ({"optimizer": 1}, "optimizer must be text, got 1"),
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
        ({"optimizer.adamw.lr": nan}, "optimizer.adamw.lr must be a finite number, got nan"),
        ({"optimizer.adamw.lr": inf}, "optimizer.adamw.lr must be a finite number, got inf"),
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


def test_a_single_training_may_take_a_value_outside_the_searched_range() -> None:
    assert build(TrialConfig(), {"optimizer.adamw.lr": 0.5, "epochs": 1}).epochs == 1


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
        ("epochs=", "epochs must be a whole number, got ''"),
        ("epochs=3.5", "epochs must be a whole number, got '3.5'"),
        ("epochs=-1", "epochs must be at least 1, got -1"),
        ("sync_batch_norm=yes", "sync_batch_norm must be true or false, got 'yes'"),
        ("precision=half", "precision must be one of auto, float32, bfloat16, got 'half'"),
    ],
)
def test_an_invalid_assignment_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(TrialConfig, assignment)
    assert str(error.value) == message


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_written_as_assignments_is_read_back_the_same(config: TrialConfig) -> None:
    lines = [f"{path}={value}" for path, value in flatten(config).items()]
    assert build(TrialConfig(), dict(parse(TrialConfig, line) for line in lines)) == config


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


def test_freezing_the_whole_encoder_has_no_further_options() -> None:
    config = build(TrialConfig(), {"model.encoder.freeze": "whole"})
    assert config.model == Encoder(freeze=Whole())
    assert not [path for path in flatten(config) if path.startswith("model.encoder.freeze.")]


def test_type_hints_are_walked_once_a_class_however_many_spaces_are_made() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Supper:
        drink: Tea | Coffee = Tea()  # noqa: RUF009
        eggs: Annotated[int, Integers(0, 4, 2)] = 2

    before = schema.cache_info().misses
    space = Space(Supper(), search=("*",), fixed={"eggs": 4}, narrow={"drink": Choice("tea")})
    for grams in range(1, 30):
        held = space.holding({"drink.tea.grams": grams})
        assert held.split({"drink": "tea"}) == ({"drink": "tea"}, {})
    assert schema.cache_info().misses == before + 1
