"""A search names its best by expected Dice: no lucky trial wins over steadily better ones."""

from pathlib import Path

import pandas as pd
import pytest

from brainseg.config.distributions import (
    Choice,
    Integers,
    LogUniform,
    Params,
    Uniform,
    distribution,
)
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report import page
from brainseg.report.results import Results
from brainseg.search.confirmation import confirmation, how_chosen, ranked_configurations
from brainseg.search.expected_dice import expected_dice
from brainseg.search.proposals.gaussian_process import FIRST
from tests.support.reports import printed
from tests.support.small_run import begin, end, train

SPACE = {
    "model.encoder.name": str(Choice("resnet34", "vgg16")),
    "optimizer.adamw.lr": str(LogUniform(1e-4, 5e-3)),
}
STEADY = (0.80, 0.79, 0.81, 0.80)
LUCKY = (0.60, 0.59, 0.83, 0.61)  # the third is a spike among its like


def searched(
    folder: Path, vgg: tuple[float, ...] = LUCKY, kind: str = "bayes", space: dict[str, str] = SPACE
) -> Run:
    """Trials of 10 epochs: VGG16 at these Dice, then ResNet34 at steady ones."""
    strategy = {"kind": kind, **({"seeds": [0]} if kind == "points" else {})}
    run = begin(folder / "encoders", space=space, strategy=strategy)
    both = {"vgg16": vgg, "resnet34": STEADY}
    for name, scores in both.items():
        for score in scores:
            add(run, {"model.encoder.name": name}, score)
    return run


def add(run: Run, point: Params, score: float, epochs: int = 10) -> str:
    trial, rate = f"{len(run.trials()):04d}", 1e-3 * (1 + len(run.trials()) / 1000)
    train(run, trial, [score] * epochs, {"epochs": 10, "optimizer.adamw.lr": rate, **point})
    end(run, trial, "done" if epochs == 10 else "stopped")
    return trial


def test_a_lucky_spike_takes_no_place_in_the_confirmation(tmp_path: Path) -> None:
    run = searched(tmp_path)
    assert Results.load(run).ranking["trial"].iloc[0] == "0002", "the ranking stays by Dice"
    sweep = confirmation(run, top=3, baselines="none")
    assert [point["model.encoder.name"] for point in sweep.first] == ["resnet34"] * 3
    sentence = how_chosen(run, sweep)
    assert (
        sentence.startswith("Chosen by expected Dice")
        and "0.830, would put trial 0002 first" in sentence
    )


def test_where_both_rules_agree_nothing_else_is_named(tmp_path: Path) -> None:
    run = searched(tmp_path, vgg=(0.60, 0.59, 0.58, 0.61))
    assert how_chosen(run, confirmation(run)).endswith("puts the same one first.")
    assert "the highest expected Dice" not in printed(run)


def test_too_few_trials_are_chosen_by_their_highest_epoch(tmp_path: Path) -> None:
    run = searched(tmp_path, vgg=(0.83,))
    assert len(run.trials()) == FIRST - 1 and expected_dice(run) == {}
    assert ranked_configurations(run)[0].trial == "0000"
    assert how_chosen(run, confirmation(run)) == "Chosen by the highest Dice of any epoch."
    add(run, {"model.encoder.name": "vgg16"}, 0.6)
    assert len(expected_dice(run)) == FIRST


@pytest.mark.parametrize(("kind", "space"), [("points", {}), ("points", SPACE), ("bayes", {})])
def test_a_list_of_points_and_an_empty_space_stay_as_they_were(
    tmp_path: Path, kind: str, space: dict[str, str]
) -> None:
    run = searched(tmp_path, kind=kind, space=space)
    first = ranked_configurations(run)[0]
    assert first.trial == "0002" and first.expected is None
    assert "Expected" not in printed(run) and "the highest expected Dice" not in printed(run)
    assert "expected Dice" not in page.write_report(Results.load(run)).read_text(encoding="utf-8")
    assert Results.load(run).ranking["expected_dice"].isna().all()


def test_the_report_shows_the_expected_dice_of_each_finished_trial(tmp_path: Path) -> None:
    run = searched(tmp_path)
    early = add(run, {"model.encoder.name": "resnet34"}, 0.7, epochs=4)
    frame = Results.load(run).ranking.set_index("trial")["expected_dice"]
    assert frame["0002"] < frame["0006"] and frame.min() > 0.5 and frame.max() < 0.83
    assert pd.isna(frame[early]) and early in expected_dice(run)
    first = ranked_configurations(run)[0].trial
    sentence = f"Trial {first} (resnet34, imagenet) has the highest expected Dice"
    text = page.write_report(Results.load(run)).read_text(encoding="utf-8")
    for shown in (" ".join(printed(run).split()), text):
        assert sentence in shown and f"brainseg confirm {run.path}" in shown
    assert "expected Dice</th>" in text and "A Gaussian process estimates" in text
    assert "Expected: a Gaussian process estimates it" in " ".join(printed(run).split())
    paths = str(run.path), str(tmp_path)
    tall = [s for s in printed(run).splitlines() if len(s) > 80 and not any(p in s for p in paths)]
    assert not tall


def test_trials_with_different_pinned_values_differ_though_the_search_does_not_draw_them(
    tmp_path: Path,
) -> None:
    run = searched(tmp_path, vgg=(0.6, 0.59, 0.61, 0.6))
    for score in (0.9, 0.89, 0.91):
        add(run, {"model.encoder.name": "vgg16", "model.encoder.weights": "own.pth"}, score)
    expected = expected_dice(run)
    assert min(expected[f"{n:04d}"] for n in (8, 9, 10)) > max(
        expected[f"{n:04d}"] for n in range(8)
    )


def test_the_expected_dice_of_a_trial_far_below_the_rest_is_its_score_at_most(
    tmp_path: Path,
) -> None:
    run = searched(tmp_path)
    worst = add(run, {"model.encoder.name": "vgg16"}, 0.02)
    assert expected_dice(run)[worst] <= 0.02 + 1e-9


@pytest.mark.parametrize(
    "recorded", [Uniform(0.1, 2), LogUniform(1e-4, 1e-2), Integers(1, 9, 2), Choice("a", 2, 0.5)]
)
def test_a_recorded_range_is_read_back(recorded: object) -> None:
    assert distribution(str(recorded)) == recorded


def test_the_confirmation_under_way_says_that_it_keeps_its_own(tmp_path: Path) -> None:
    run = searched(tmp_path)
    sweep = confirmation(run, top=1)
    begin(tmp_path / sweep.name, **read_json(run.sweep))
    assert "was started with" in how_chosen(run, sweep)


def test_where_a_split_leaks_no_confirmation_is_suggested(tmp_path: Path) -> None:
    run = searched(tmp_path)
    known = read_json(run.sweep)
    assert "brainseg confirm" in printed(run).replace("\n", " ")
    begin(run.path, **known | {"split": known["split"] | {"shared_patients": 1}})
    assert "brainseg confirm" not in printed(run).replace("\n", " ")
