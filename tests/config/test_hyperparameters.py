"""A configuration has a name of its own; a sweep that could not run is refused when it is made."""

from dataclasses import replace
from typing import Any

import pytest

from brainseg.config.distributions import Choice
from brainseg.config.hyperparameters import (
    Encoder,
    First,
    Plain,
    TrialConfig,
    Whole,
    configuration_name,
)
from brainseg.config.schema import build
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Points, Split, Sweep

MODELS = Space(
    TrialConfig(), search=("model", "model.encoder.name", "model.encoder.freeze*", "epochs")
)
REPORT_NAMES = [
    "plain U-Net, width 64",
    "vgg16, imagenet",
    "resnet50, imagenet",
    "resnet50, imagenet, first 2 frozen",
]


def sweep(**changes: Any) -> Sweep:
    return Sweep(**{"name": "models", "question": "Which model?", "space": MODELS} | changes)


# Configurations


def test_the_report_s_models_are_four_configurations() -> None:
    assert [
        configuration_name(build(TrialConfig(), point)) for point in REPORT_MODELS
    ] == REPORT_NAMES


def test_the_report_s_models_are_the_same_four_whatever_the_base() -> None:
    base = TrialConfig(model=Encoder(freeze=Whole()))
    assert [configuration_name(build(base, point)) for point in REPORT_MODELS] == REPORT_NAMES


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Plain(width=16), "plain U-Net, width 16"),
        (Encoder(name="mit_b0", weights="none"), "mit_b0, random weights"),
        (Encoder(name="mit_b0", decoder="fpn"), "mit_b0 fpn, imagenet"),
        (Encoder(weights="/data/medical.pth"), "resnet50, medical.pth"),
        (Encoder(freeze=First(blocks=3)), "resnet50, imagenet, first 3 frozen"),
        (Encoder(freeze=Whole()), "resnet50, imagenet, encoder frozen"),
    ],
)
def test_a_configuration_s_name_is_the_model_in_words(model: Encoder | Plain, name: str) -> None:
    assert configuration_name(TrialConfig(model=model)) == name


def test_a_configuration_s_name_does_not_depend_on_how_it_is_trained() -> None:
    slow = build(TrialConfig(), {"epochs": 99, "optimizer": "sgd", "loss": "dicebce", "seed": 3})
    slow = replace(slow, fold=2)
    assert configuration_name(slow) == configuration_name(TrialConfig())


# Sweeps


def test_first_points_are_split_into_what_is_drawn_and_what_is_pinned() -> None:
    points = sweep(first=({"model": "plain", "model.plain.width": 16, "epochs": 20},)).points()
    assert points == [({"model": "plain", "epochs": 20}, {"model.plain.width": 16})]


def test_the_report_s_models_can_open_a_sweep_over_models() -> None:
    points = sweep(first=REPORT_MODELS).points()
    assert [
        configuration_name(MODELS.config(drawn | pinned)) for drawn, pinned in points
    ] == REPORT_NAMES


def test_a_first_point_that_the_search_cannot_reach_is_refused() -> None:
    narrow = Space(
        TrialConfig(),
        search=("model", "model.encoder.name"),
        narrow={"model.encoder.name": Choice("resnet50", "mit_b0")},
    )
    with pytest.raises(ValueError, match=r"model\.encoder\.name='vgg16' is outside the range"):
        sweep(space=narrow, first=REPORT_MODELS).points()


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"grace_epochs": 0}, "grace_epochs must be at least 1, got 0"),
        ({"reduction": 1}, "reduction must be at least 2, got 1"),
    ],
)
def test_a_strategy_that_stops_everything_or_nothing_is_refused(
    strategy: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Bayes(**strategy)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"by": "pixels"},
            "a split is by patients, by slices or from a file whose name ends in .csv, "
            "got 'pixels'",
        ),
        (
            {"validation": 0.0},
            "validation must be above 0, test at least 0, and both together below 1, "
            "got 0.0 and 0.0",
        ),
        (
            {"validation": 1.0, "test": 0.0},
            "validation must be above 0, test at least 0, and both together below 1, "
            "got 1.0 and 0.0",
        ),
        (
            {"validation": 0.6, "test": 0.4},
            "validation must be above 0, test at least 0, and both together below 1, "
            "got 0.6 and 0.4",
        ),
        (
            {"test": -0.1},
            "validation must be above 0, test at least 0, and both together below 1, "
            "got 0.2 and -0.1",
        ),
        (
            {"test": float("nan")},
            "validation must be above 0, test at least 0, and both together below 1, "
            "got 0.2 and nan",
        ),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Split(**split)
    assert str(error.value) == message


@pytest.mark.parametrize("folds", [1, -2])
def test_folds_are_two_or_more_or_none(folds: int) -> None:
    with pytest.raises(ValueError) as error:
        Split(folds=folds)
    assert str(error.value) == f"folds must be at least 2, or 0 for none, got {folds}; try 5"
    with pytest.raises(ValueError, match="folds must be at least 2"):
        Points(folds=folds)


def test_slices_are_not_cut_into_folds() -> None:
    with pytest.raises(ValueError, match="folds divide patients, this split is by slices"):
        Split(by="slices", folds=3)


@pytest.mark.parametrize(
    ("fold", "split", "message"),
    [
        (1, Split(), "one of the split's, which has no folds, got 1; make more with --folds"),
        (3, Split(folds=3), "which has folds 0 to 2, got 3; make more with --folds"),
    ],
)
def test_a_fold_that_the_split_does_not_have_is_refused(
    fold: int, split: Split, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sweep(space=Space(TrialConfig(fold=fold), search=("model",)), split=split)


def test_a_sweep_without_locked_patients_is_allowed() -> None:
    assert Split(test=0.0).test == 0
