"""A sweep that starts from another's trials: what it takes over, and what it refuses."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from brainseg.config.schema import flatten
from brainseg.config.sweep import Sweep
from brainseg.records.run import Run
from brainseg.search import warm_start
from brainseg.search.observations import Observation
from brainseg.search.study import Study
from brainseg.search.warm_start import PreviousTrial
from tests.support.search_driver import SWEEP, Driver
from tests.support.written import new_run, write_json


def asked(**changes: Any) -> dict[str, Any]:
    space = {path: str(d) for path, d in SWEEP.space.distributions().items()}
    about = {
        "name": "old",
        "space": space,
        "base": flatten(SWEEP.space.config({})),
        "fixed": {},
        "data": {"fingerprint": "abc", "root": "/data", "made_up": False},
        "split": {"by": "patients", "seed": 0, "shared_patients": 0},
        "strategy": {"kind": "bayes"},
    }
    return about | changes


def previous_trials(
    run: Run, sweep: Sweep, asked: dict[str, Any], other_data: str = ""
) -> list[PreviousTrial]:
    return warm_start.previous_trials(run, sweep, asked, lambda run: other_data)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("old"))
    write_json(run.sweep, asked())
    Driver(run).drive()
    return run


def test_a_new_study_begins_with_the_old_trials(old: Run, tmp_path: Path) -> None:
    previous = previous_trials(old, SWEEP, asked())
    study = Study(new_run(tmp_path), SWEEP, previous)
    taken_over = [t for t in study.study.trials if "from" in t.user_attrs]
    records = [r for r in old.trials() if r.state in ("done", "stopped", "paused")]
    assert len(taken_over) == len(records)
    by_name = {t.user_attrs["from"]: t for t in taken_over}
    for record in records:
        trial = by_name[f"old {record.trial}"]
        complete = record.state == "done"
        assert trial.state == (TrialState.COMPLETE if complete else TrialState.PRUNED)
        assert trial.params["optimizer.adamw.lr"] == record.params["optimizer.adamw.lr"]
        assert len(trial.intermediate_values) == record.epoch


def test_points_that_ran_to_their_end_are_not_run_again(old: Run, tmp_path: Path) -> None:
    previous = previous_trials(old, SWEEP, asked())
    done = {trial.config for trial in previous if trial.done}
    firsts = [SWEEP.space.config(point) for point in SWEEP.first]
    queued = Study(new_run(tmp_path), SWEEP, previous).study.get_trials(
        states=(TrialState.WAITING,)
    )
    assert len(queued) == sum(config not in done for config in firsts)


def test_names_of_new_trials_follow_the_old_ones_and_proposals_learn_from_them(
    old: Run, tmp_path: Path
) -> None:
    previous = previous_trials(old, replace(SWEEP, first=()), asked())
    study = Study(new_run(tmp_path), replace(SWEEP, first=()), previous)
    observed = [(trial.observation, trial.costs) for trial in previous]
    assert all(isinstance(trial, Observation) and trial.best for trial, _ in observed)
    name = study.ask(observed)
    assert name == f"{len(previous):04d}"
    assert study.params(name) not in [trial.params for trial, _ in observed]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"space": asked()["space"] | {"optimizer.adamw.lr": "LogUniform(low=1, high=2)"}},
            "optimizer.adamw.lr is searched in LogUniform(low=0.0001, high=0.005), "
            "here LogUniform(low=1, high=2)",
        ),
        ({"space": {}}, "model.encoder.name is searched in Choice"),
        ({"base": asked()["base"] | {"epochs": 30}}, "epochs is held at 9, here 30"),
        ({"fixed": {"seed": 4}}, "seed is held at nothing, here 4"),
        ({"split": {"by": "slices"}}, "the split differs (by patients, here slices, "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_space_data_or_split_is_refused_and_what_differs_is_said(
    old: Run, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refused:
        previous_trials(old, SWEEP, asked(**changes))
    assert sentence in str(refused.value) and "--try" in str(refused.value)


def test_other_data_are_refused_and_what_differs_is_said(old: Run) -> None:
    with pytest.raises(ValueError, match=r"the data differ \(/data\): 1 file is gone \(a\); use"):
        previous_trials(old, SWEEP, asked(), "1 file is gone (a)")


def test_a_hyperparameter_that_the_old_version_lacked_had_its_default(
    old: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(old.path, tmp_path / "older"))
    base = {path: value for path, value in asked()["base"].items() if path != "augment.extra"}
    write_json(run.sweep, asked(base=base))
    assert len(previous_trials(run, SWEEP, asked())) == len(previous_trials(old, SWEEP, asked()))
    noisy = asked(base=asked()["base"] | {"augment.extra": "noise"})
    with pytest.raises(ValueError, match=r"augment\.extra is held at none, here noise"):
        previous_trials(run, SWEEP, noisy)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no sweep\.json"):
        previous_trials(Run(tmp_path), SWEEP, asked())
