"""What a sweep may ask."""

from dataclasses import replace
from typing import Any

import pytest

from brainseg.config.claims import Best
from brainseg.config.distributions import Params
from brainseg.config.sweep import REPORT_MODELS, Budget, Points, Split, Sweep, grid
from tests.support.small_sweeps import DRAWN, LOOSE, REPORT, listed


def test_a_grid_holds_every_combination_and_the_last_path_changes_fastest() -> None:
    points = grid({"model": ("plain", "encoder"), "epochs": (10, 20)})
    assert [tuple(point.values()) for point in points] == [
        ("plain", 10), ("plain", 20), ("encoder", 10), ("encoder", 20)
    ]  # fmt: skip


def test_the_budget_of_a_list_is_points_times_seeds() -> None:
    assert REPORT.trials == 12 and DRAWN.trials == 20
    assert listed(({"epochs": 3},), Points(seeds=(1, 2), trials=9)).trials == 2
    assert listed(({"epochs": 3},), Points(seeds=(1, 2), trials=1)).trials == 1


def test_every_configuration_grows_evenly_over_folds_and_then_over_seeds() -> None:
    sweep = listed(grid({"epochs": (3, 9)}), Points(seeds=(4, 7), folds=2), split=Split(folds=2))
    tried = [sweep.space.config(pinned) for _, pinned in sweep.points()]
    assert [(config.seed, config.fold, config.epochs) for config in tried] == [
        (4, 0, 3), (4, 0, 9), (4, 1, 3), (4, 1, 9), (7, 0, 3), (7, 0, 9), (7, 1, 3), (7, 1, 9)
    ]  # fmt: skip
    assert sweep.trials == 8


def test_more_folds_than_the_split_has_are_refused() -> None:
    with pytest.raises(ValueError, match="which has folds 0 to 1, got 2"):
        listed(({"epochs": 3},), Points(folds=3), split=Split(folds=2))


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        ((), "a sweep of points needs one or more"),
        (({"epochs": 3}, {"epochs": 3}), "points must be different configurations"),
        (({}, {"model.encoder.name": "resnet50"}), "points must be different configurations"),
        (({"seed": 3},), "seeds and folds belong to the strategy"),
        (({"fold": 1},), "seeds and folds belong to the strategy"),
        (({"epoch": 3},), "there is no hyperparameter 'epoch'; did you mean 'epochs'"),
    ],
)
def test_a_list_that_cannot_be_run_is_refused(first: tuple[Params, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        listed(first)


def test_a_list_draws_nothing() -> None:
    with pytest.raises(ValueError, match="draws nothing"):
        Sweep(name="s", question="?", space=LOOSE, first=REPORT_MODELS, strategy=Points())


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_different_numbers(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="different numbers"):
        Points(seeds=seeds)


def test_a_race_takes_folds() -> None:
    with pytest.raises(ValueError, match=r"a race takes folds: .*; add folds, or leave out race"):
        Points(seeds=(1, 2, 3, 4, 5), race=True)


def test_a_claim_about_a_path_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no hyperparameter"):
        listed(REPORT_MODELS, claims=(Best("b", {"model.encoder.freez": "nothing"}),))  # type: ignore[arg-type]


def test_claims_are_not_judged_in_a_race() -> None:
    claims = (Best("b", REPORT_MODELS[0]),)
    with pytest.raises(ValueError, match="fewer seeds; leave out race, or the claims"):
        listed(REPORT_MODELS, Points(seeds=(1, 2), folds=5, race=True), claims=claims)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objectives": ("dice", "speed")}, "got 'speed'"),
        ({"objectives": ("parameters", "dice")}, "must start with dice"),
        ({"objectives": ("dice", "dice")}, "name each once"),
        ({"budget": Budget(patience=99)}, "patience must be below the"),
    ],
)
def test_an_impossible_sweep_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(DRAWN, **changes)


@pytest.mark.parametrize("limit", [{"hours": 0.0}, {"device_hours": -1.0}, {"patience": -1}])
def test_a_limit_is_a_positive_number(limit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limit))):
        Budget(**limit)
