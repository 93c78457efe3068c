"""A run's model is the configuration that its report and its comparison put first."""

from pathlib import Path

import numpy as np
import pytest

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.inference.winner import Ranking, rank
from brainseg.records.run import Run
from brainseg.search.confirmation import ranked_configurations
from tests.support.confirm_run import (
    RESNET,
    SMALL,
    VGG,
    add_configuration,
    compared,
    confirmation,
    five_configurations,
    scores,
    three_configurations,
)
from tests.support.small_run import end, four_trials, train


def ranking(run: Run) -> Ranking:
    return rank(RunSnapshot.load(run))


def test_the_winner_of_a_search_is_what_a_confirmation_would_take_first(tmp_path: Path) -> None:
    run = four_trials(tmp_path)
    first = ranked_configurations(run)[0]
    winner = ranking(run).winner
    assert winner.members == (first.trial,) == ("0001",)
    assert winner.name == "vgg16, imagenet; adamw" and winner.rank == 1
    assert ranking(run).named("0000").rank == 2, "a trial that was stopped comes later"


def test_a_trial_that_failed_is_no_model_however_high_its_dice(tmp_path: Path) -> None:
    run = four_trials(tmp_path)
    with pytest.raises(ValueError, match="no configuration '0002' with a network"):
        ranking(run).named("0002")


def test_the_winner_of_a_confirmation_is_the_first_of_its_comparison(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    ranked = ranking(run)
    assert [c.name for c in ranked.configurations] == [c.name for c in compared(run).configurations]
    assert ranked.winner.name == "resnet50, imagenet"
    assert len(ranked.winner.members) == 10, "five folds and two seeds"
    assert ranked.winner.dice == compared(run).configurations[0].dice.mean
    assert "brainseg compare" in ranked.rule


def test_a_configuration_that_left_the_race_comes_last(tmp_path: Path) -> None:
    run = five_configurations(tmp_path)
    last = ranking(run).configurations[-1]
    assert last.name.startswith("resnet18") and len(last.members) == 5


@pytest.mark.parametrize("arm", ["resnet18, imagenet", "0025"])
def test_a_configuration_is_named_as_in_the_table_or_by_a_trial(tmp_path: Path, arm: str) -> None:
    chosen = ranking(three_configurations(tmp_path)).named(arm)
    assert chosen.name == "resnet18, imagenet" and len(chosen.members) == 10


def test_an_unknown_configuration_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refusal:
        ranking(three_configurations(tmp_path)).named("resnet18, imagent")
    assert "did you mean 'resnet18, imagenet'" in str(refusal.value)
    assert "resnet50, imagenet | vgg16, imagenet | resnet18, imagenet" in str(refusal.value)


def test_too_few_seeds_to_compare_leave_the_highest_mean_and_it_is_said(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=0, seeds=(1,))
    add_configuration(run, VGG, scores(0.7, draw=1, seeds=1), folds=0)
    add_configuration(run, RESNET, scores(0.8, draw=2, seeds=1), folds=0)
    ranked = ranking(run)
    assert [c.name for c in ranked.configurations] == ["resnet50, imagenet", "vgg16, imagenet"]
    assert "too few for `brainseg compare`" in ranked.rule and ranked.comparison is None


def test_one_lucky_fold_is_no_configuration_in_all_folds(tmp_path: Path) -> None:
    run = confirmation(tmp_path, seeds=(1,))
    dice_SP = np.full((1, 10), 0.7)
    lucky = np.where(np.arange(10) % 5 == 0, 0.9, 0.1)[None]
    fails = {(1, fold): "no memory" for fold in range(1, 5)}
    add_configuration(run, SMALL, lucky, fails=fails)
    add_configuration(run, RESNET, dice_SP)
    assert ranking(run).winner.name == "resnet50, imagenet"


def test_a_run_without_a_finished_trial_has_no_winner(tmp_path: Path) -> None:
    run = confirmation(tmp_path, folds=0, seeds=(1,))
    fails = {(1, 0): "the loss became NaN"}
    add_configuration(run, VGG, scores(0.7, draw=1, seeds=1), folds=0, fails=fails)
    with pytest.raises(ValueError, match=r"no finished trial with a score yet \(1 of 1 trial"):
        ranking(run)


def test_of_a_search_with_seeds_a_trial_is_itself(tmp_path: Path) -> None:
    run = four_trials(tmp_path)
    train(run, "0004", [0.5, 0.6], {"model.encoder.name": "vgg16", "seed": 1})
    end(run, "0004", "done")
    assert ranking(run).winner.members == ("0001",)
    assert ranking(run).named("0004").members == ("0004",)
