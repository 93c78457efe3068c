"""Laws of the report, on a small made-up run: ranking, results.csv, answer, terminal table."""

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from small_run import HOSTILE, begin, four_trials

from brainseg import report
from brainseg.config import TrialConfig
from brainseg.records import Run, read_json
from brainseg.space import flatten


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return four_trials(tmp_path / "encoders")


def printed(run: Run, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width)
    report.print_ranking(run, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_best_score_comes_first_and_failed_trials_have_no_rank(run: Run) -> None:
    frame = report.ranking(run)
    assert frame["trial"].tolist() == ["0001", "0003", "0000", "0002"]
    assert frame["rank"].tolist()[:3] == [1, 2, 3] and pd.isna(frame["rank"].iloc[3])
    assert frame["reason"].iloc[3].startswith("not finite on")


def test_scores_are_those_of_the_best_epoch(run: Run) -> None:
    first = report.ranking(run).iloc[0]
    assert (first.dice, first.iou, first.best_epoch, first.epochs) == (0.8, 0.4, 2, 3)
    assert (first.patients, first.dice_median) == (3, pytest.approx(0.8))
    assert (first.dice_q1, first.dice_q3) == (pytest.approx(0.75), pytest.approx(0.85))


def test_a_running_trial_ranks_by_its_best_so_far(run: Run) -> None:
    second = report.ranking(run).iloc[1]
    assert (second.state, second.dice, second.best_epoch) == ("running", 0.6, 1)
    assert second.device_seconds == 2 * 30.0 * 2
    assert "highest so far" in report.answer(run, report.ranking(run))


def test_the_rate_is_that_of_the_optimizer_taken(run: Run) -> None:
    rates = report.ranking(run).set_index("trial")["lr"]
    assert (rates["0001"], rates["0002"]) == (1e-3, 0.3)


def test_results_round_trip(run: Run) -> None:
    path = report.write_results(run)
    read = pd.read_csv(path, dtype={"trial": str})
    frame = report.ranking(run)
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
    said = report.answer(run, report.ranking(run))
    assert said.startswith("vgg16, imagenet (trial 0001)")
    for part in ("0.800 over 3 validation patients", "between 0.75 and 0.85", "0.200 above"):
        assert part in said
    assert "better on 3 of 3 patients" in said and "Not yet confirmed" in said


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_without_a_score_says_so(tmp_path: Path, begun: bool) -> None:
    run = begin(tmp_path / "encoders")
    if begun:
        run.note("0000", "running", arm="resnet50", params=flatten(TrialConfig()))
        run.note("0000", "failed", reason="out of memory")
    assert "No trial has finished" in printed(run)
    assert ("out of memory" in printed(run)) == begun
    assert list(pd.read_csv(report.write_results(run))["state"]) == ["failed"] * begun


def test_a_trial_without_patients_is_reported_all_the_same(run: Run) -> None:
    run.trial("0001").patients.unlink()
    assert "0.800" in printed(run)


def test_a_split_by_slices_says_that_it_leaks(run: Run) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    leaky = begin(run.path, split=split | {"shared_patients": 3})
    assert "The split leaks" in printed(leaky)


def test_a_split_from_a_file_is_called_so_and_leaks_only_if_patients_are_parted(run: Run) -> None:
    split = {"by": "/my/split.csv", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    whole = " ".join(printed(begin(run.path, split=split | {"shared_patients": 0})).split())
    assert "Split as /my/split.csv says" in whole and "leak" not in whole
    assert "The split leaks" in printed(begin(run.path, split=split | {"shared_patients": 1}))


def test_a_split_by_patients_does_not(run: Run) -> None:
    assert "leak" not in printed(run)


def test_whatever_a_name_holds_the_terminal_shows_it(run: Run) -> None:
    run.note("0001", "done", arm=HOSTILE)
    assert HOSTILE in " ".join(printed(run, 200).split())


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(run: Run, width: int) -> None:
    report.write_results(run)
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
