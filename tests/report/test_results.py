"""Laws of the report, on a small made-up run: ranking, results.csv, answer, terminal table."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from brainseg.cli.options.parser import Parser, parsed
from brainseg.cli.options.resolve import sweep_from_options
from brainseg.cli.options.sweep import add_sweep_options, sweep_options
from brainseg.cli.train import single
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import Sgd, TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.sweep import Split
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report import replay, results, sentences
from brainseg.report.results import Results
from tests.support.reports import printed
from tests.support.small_run import HOSTILE, begin, end, four_trials, in_folds, train


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return four_trials(tmp_path / "encoders")


def test_the_best_score_comes_first_and_failed_trials_have_no_rank(run: Run) -> None:
    frame = Results.load(run).ranking
    assert frame["trial"].tolist() == ["0001", "0003", "0000", "0002"]
    assert frame["rank"].tolist()[:3] == [1, 2, 3] and pd.isna(frame["rank"].iloc[3])
    assert frame["reason"].iloc[3].startswith("not finite on")


def test_scores_are_those_of_the_best_epoch(run: Run) -> None:
    first = Results.load(run).ranking.iloc[0]
    assert (first.dice, first.iou, first.best_epoch, first.epochs) == (0.8, 0.4, 2, 3)
    assert (first.patients, first.dice_median) == (3, pytest.approx(0.8))
    assert (first.dice_q1, first.dice_q3) == (pytest.approx(0.75), pytest.approx(0.85))


def test_a_running_trial_ranks_by_its_best_so_far(run: Run) -> None:
    second = Results.load(run).ranking.iloc[1]
    assert (second.state, second.dice, second.best_epoch) == ("running", 0.6, 1)
    assert second.device_seconds == 2 * 30.0 * 2
    assert "highest so far" in sentences.answer(Results.load(run))


def test_the_rate_is_that_of_the_optimizer_taken(run: Run) -> None:
    rates = Results.load(run).ranking.set_index("trial")["lr"]
    assert (rates["0001"], rates["0002"]) == (1e-3, 0.3)


def test_results_round_trip(run: Run) -> None:
    path = results.write_results(Results.load(run))
    read = pd.read_csv(path, dtype={"trial": str})
    frame = Results.load(run).ranking
    assert read["trial"].tolist() == frame["trial"].tolist()
    assert read["dice"].tolist() == frame["dice"].tolist()
    assert read["reason"].iloc[3] == f"not finite on {HOSTILE}"
    assert read["params.optimizer.sgd.lr"].iloc[3] == 0.3
    assert read["params.epochs"].iloc[0] == 30 and read["epochs"].iloc[0] == 3
    assert [path.name for path in run.path.glob("*results*")] == ["results.csv"]


def test_baselines_stand_beneath_the_ranking_with_the_reason_where_undefined(run: Run) -> None:
    lines = printed(run, 120).splitlines()
    last_trial = max(n for n, line in enumerate(lines) if " 0002 " in line)
    nothing = next(n for n, line in enumerate(lines) if "predicts nothing" in line)
    assert nothing > last_trial and "0.333" in lines[nothing]
    assert "copies the nearest slice: there is none" in " ".join(printed(run, 120).split())
    assert "same validation slices, at 256x256 pixels" in " ".join(printed(run).split())


def test_the_answer_names_leader_spread_gap_and_doubt(run: Run) -> None:
    text = sentences.answer(Results.load(run))
    assert text.startswith("vgg16, imagenet; adamw (trial 0001)")
    for part in ("0.800 over 3 validation patients", "between 0.75 and 0.85", "0.200 above"):
        assert part in text
    assert "better on 3 of 3 patients" in text and "Not yet confirmed" in text


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_without_a_score_says_so(tmp_path: Path, begun: bool) -> None:
    run = begin(tmp_path / "encoders")
    if begun:
        run.note("0000", "running", configuration="resnet50", params=flatten(TrialConfig()))
        run.note("0000", "failed", reason="out of memory")
    assert "No trial has finished" in printed(run)
    assert ("out of memory" in printed(run)) == begun
    assert (
        list(pd.read_csv(results.write_results(Results.load(run)))["state"]) == ["failed"] * begun
    )


def test_a_trial_without_patients_is_reported_all_the_same(run: Run) -> None:
    run.trial("0001").patients.unlink()
    assert "0.800" in printed(run)


def test_a_split_by_slices_says_that_it_leaks(run: Run) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    leaky = begin(run.path, split=split | {"shared_patients": 3})
    assert "The split leaks" in printed(leaky)


def test_a_split_from_a_file_is_called_so_and_leaks_only_if_patients_are_split(run: Run) -> None:
    split = {"by": "/my/split.csv", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    whole = " ".join(printed(begin(run.path, split=split | {"shared_patients": 0})).split())
    assert "Split from /my/split.csv" in whole and "leak" not in whole
    assert "The split leaks" in printed(begin(run.path, split=split | {"shared_patients": 1}))


def test_a_split_by_patients_does_not_leak(run: Run) -> None:
    assert "leak" not in printed(run)


def test_whatever_a_name_holds_the_terminal_shows_it(run: Run) -> None:
    run.note("0001", "done", configuration=HOSTILE)
    assert HOSTILE in " ".join(printed(run, 200).split())


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(run: Run, width: int) -> None:
    results.write_results(Results.load(run))
    lines = printed(run, width).splitlines()
    tall = [line for line in lines if len(line) > width and str(run.path) not in line]
    assert not tall
    assert [line for line in lines if re.match(r" *1 +0001 +vgg16, imagenet +0\.800 +0\.400", line)]
    assert any(str(run.results) == line for line in lines)
    assert not any("report.html" in line for line in lines)  # not written yet


def test_the_terminal_says_what_the_score_is(run: Run) -> None:
    text = " ".join(printed(run).split())
    assert "volume Dice, at 256x256 pixels" in text
    assert "validation 3 patients / 60 slices" in text
    assert "not yet a proof" in text


def test_made_up_patients_are_called_so(run: Run) -> None:
    sweep = read_json(run.sweep)
    made_up = begin(run.path, data=sweep["data"] | {"made_up": True})
    assert "made up" in printed(made_up)


def varied(folder: Path, *points: Params) -> list[str]:
    run = begin(folder / "encoders")
    for number, point in enumerate(points):
        train(run, f"{number:04d}", [0.9 - number / 10], point)
    assert all(word in printed(run, 200) for word in Results.load(run).ranking["varied"])
    return Results.load(run).ranking["varied"].tolist()


def test_names_show_what_differs_between_trials_and_nothing_else(tmp_path: Path) -> None:
    points: list[Params] = [
        {"schedule": "triangular", "schedule.triangular.cycle_epochs": 4, "seed": 1},
        {
            "schedule": "triangular",
            "schedule.triangular.cycle_epochs": 6,
            "optimizer.adamw.lr": 0.01,
        },
        {"schedule": "constant"},
    ]
    assert varied(tmp_path, *points) == [
        "lr 0.001, triangular, cycle_epochs 4, seed 1",
        "lr 0.01, triangular, cycle_epochs 6, seed 0",
        "lr 0.001, constant, seed 0",
    ]


def test_what_the_model_s_name_says_is_not_repeated(tmp_path: Path) -> None:
    points: list[Params] = [{"model": "plain"}, {"model.encoder.freeze": "whole"}, {}]
    assert varied(tmp_path, *points) == ["", "", ""]


def test_a_rate_that_a_range_test_replaced_is_not_shown(tmp_path: Path) -> None:
    points: list[Params] = [{"lr": "auto"}, {"optimizer.adamw.lr": 0.004}]
    assert varied(tmp_path, *points) == ["lr auto", "lr 0.004"]


def test_configurations_are_ranked_by_their_mean_over_seeds(tmp_path: Path) -> None:
    run = begin(tmp_path / "encoders")
    scores = {"vgg16": (0.9, 0.5, 0.7), "resnet50": (0.8, 0.8, 0.74), "resnet18": (0.1,)}
    for name, dice in scores.items():
        for seed, score in enumerate(dice):
            trial = f"{len(run.trials()):04d}"
            train(run, trial, [score], {"model.encoder.name": name, "seed": seed})
            end(run, trial, "done")
    table = Results.load(run).over_seeds
    assert table["arm"].str.split(",").str[0].tolist() == ["resnet50", "vgg16", "resnet18"]
    assert table["seeds"].tolist() == [3, 3, 1]
    assert table["dice"].tolist() == pytest.approx([0.78, 0.7, 0.1])
    assert table["dice_sd"].tolist()[:2] == pytest.approx([0.06 / 3**0.5, 0.2])
    assert (table["dice_low"][1], table["dice_high"][1]) == (0.5, 0.9)
    text = sentences.answer(Results.load(run))
    assert text.startswith("resnet50, imagenet scored highest: mean Dice 0.780 over 3 seeds")
    assert "then vgg16, imagenet, 0.700 over 3 seeds (0.500 to 0.900)" in text
    assert "Lowest" in printed(run)


def test_a_configuration_is_scored_by_all_its_folds_at_the_last_epoch(tmp_path: Path) -> None:
    run = in_folds(tmp_path, {"vgg16": [[0.5, 0.7], [0.4, 0.6]], "resnet18": [[0.6, 0.8]]})
    table = Results.load(run).over_seeds
    assert table["arm"].str.split(",").str[0].tolist() == ["resnet18", "vgg16"]
    assert table["dice"].tolist() == pytest.approx([0.7, 0.55]), "the best epochs are 0.05 above"
    assert (table["seeds"].tolist(), table["patients"].tolist()) == ([1, 2], [6, 6])
    assert table["varied"].tolist() == ["", ""], (
        "seed and fold are no difference between configurations"
    )
    text = sentences.answer(Results.load(run))
    assert text.startswith("resnet18, imagenet scored highest: mean Dice 0.700 over 6 patients out")
    assert "0.550 over 6 patients out of fold, 2 seeds (0.500 to 0.600)" in text


def test_a_list_without_folds_is_scored_at_the_last_epoch_too(tmp_path: Path) -> None:
    run = begin(tmp_path / "list", strategy={"kind": "points", "seeds": [0, 1]})
    for name, last in {"vgg16": 0.5, "resnet18": 0.6}.items():
        for seed in (0, 1):
            trial = f"{len(run.trials()):04d}"
            train(run, trial, [0.8, last], {"model.encoder.name": name, "seed": seed})
            end(run, trial, "done" if name == "vgg16" or seed == 0 else "stopped")
    table = Results.load(run).over_seeds
    assert table["dice"].tolist() == pytest.approx([0.6, 0.5]), "their best epochs are at 0.8"
    assert (table["seeds"].tolist(), table["patients"].tolist()) == ([1, 2], [0, 0])
    assert "Dice over seeds is that of the last epoch" in " ".join(printed(run).split())


def test_trials_of_folds_have_no_rank_and_stand_by_configuration(tmp_path: Path) -> None:
    run = in_folds(tmp_path, {"vgg16": [[0.5, 0.9]], "resnet18": [[0.6, 0.95]]})
    frame = Results.load(run).ranking
    assert frame["rank"].isna().all()
    assert frame["trial"].tolist() == ["0002", "0003", "0000", "0001"]
    assert frame["varied"].tolist() == ["fold 0", "fold 1"] * 2
    shown = printed(run, 120)
    assert shown.index("Patients") < shown.index(" 0002 "), "the configurations' means come first"
    assert "networks that never saw them" in " ".join(shown.split())
    assert "fold 0 3 patients / 60 slices" in " ".join(shown.split())


def test_a_seed_of_which_a_fold_is_missing_does_not_count(tmp_path: Path) -> None:
    run = in_folds(tmp_path, {"vgg16": [[0.5, 0.7], [0.9]]})
    assert Results.load(run).over_seeds["dice"].tolist() == pytest.approx([0.6])
    run.trial("0000").last.unlink()
    assert Results.load(run).over_seeds.empty
    text = sentences.answer(Results.load(run))
    assert text == "No configuration has been scored in all 2 folds yet."


@pytest.mark.parametrize("layout", ["lgg", "nnunet"])
def test_the_command_of_a_fold_s_trial_asks_the_very_same(tmp_path: Path, layout: str) -> None:
    sweep = read_json(in_folds(tmp_path, {}).sweep)
    sweep["split"] |= {"seed": 7, "test": 0.15, "by": "patients"}
    sweep["data"] |= {"layout": layout, "label": "1+4"}
    config = TrialConfig(seed=1, fold=1, epochs=7, optimizer=Sgd(lr=0.3))
    command = replay.replay(sweep, "0005", flatten(config)).replace("\\\n", " ")
    verb, *words = shlex.split(command)[1:]
    parser = Parser()
    add_sweep_options(parser, single())
    options = sweep_options(parsed(parser, words))
    asked = sweep_from_options(single(), options)
    assert (verb, options.layout, options.data) == ("train", layout, "/data/my scans")
    assert options.label == "1+4"
    assert asked.split == Split(by="patients", validation=0.2, test=0.15, seed=7, folds=2)
    assert asked.space.config({}) == config and asked.trials == 1


def test_without_a_second_seed_there_is_no_table_over_seeds(run: Run) -> None:
    assert Results.load(run).over_seeds.empty and "Lowest" not in printed(run)
