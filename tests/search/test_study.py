"""Laws of the study: what Optuna gets of each trial, and which point comes next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import _hints, build, flatten, schema
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Sweep
from brainseg.records.run import Run
from brainseg.search.observations import Observation
from brainseg.search.study import Study
from tests.config.test_space import trials
from tests.support.search_driver import LISTED, SPACE, SWEEP, end
from tests.support.written import new_run

COSTLY = replace(SWEEP, objectives=("dice", "parameters", "device_seconds"))


def test_the_report_s_four_models_come_first_and_in_order(tmp_path: Path) -> None:
    study = Study(new_run(tmp_path), SWEEP)
    params = [study.params(study.ask()) for _ in range(4)]
    assert params[0]["model"] == "plain"
    assert [p.get("model.encoder.name") for p in params[1:]] == ["vgg16", "resnet50", "resnet50"]
    assert params[3]["model.encoder.freeze.first.blocks"] == 2


@pytest.mark.parametrize("sweep", [SWEEP, COSTLY], ids=["one aim", "three aims"])
def test_optuna_gets_complete_pruned_and_fail_and_no_trial_stays_running(
    tmp_path: Path, sweep: Sweep
) -> None:
    study = Study(new_run(tmp_path), sweep)
    end(study, study.ask(), "done", 0.8)
    end(study, study.ask(), "stopped", 0.3)
    end(study, study.ask(), "failed")
    trials = Study(new_run(tmp_path), sweep).study.trials[:3]
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[0].values == [0.8, 7.0, 1.0][: len(sweep.objectives)]
    if sweep is SWEEP:
        assert trials[1].intermediate_values == {1: 0.3} and trials[1].value == 0.3


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_an_interrupted_study_draws_what_an_uninterrupted_one_draws(
    tmp_path: Path, sampler: str
) -> None:
    sweep = replace(SWEEP, strategy=Bayes(trials=30, sampler=sampler))  # type: ignore[arg-type]

    def drawn(folder: Path, *, reopened: bool) -> list[dict[str, object]]:
        folder.mkdir()
        study, points, observed = Study(new_run(folder), sweep), [], []
        for number in range(14):
            if reopened:
                study = Study(new_run(folder), sweep)
            name = study.ask(observed)
            points.append(study.params(name))
            score = float(np.sin(number))
            observed.append(
                (Observation(params=points[-1], epochs=1, best=(score,), seconds=1.0), {})
            )
            end(study, name, "done", score)
        return points

    whole = drawn(tmp_path / "a", reopened=False)
    assert whole == drawn(tmp_path / "b", reopened=True)
    assert len({str(params) for params in whole}) == 14, "no point twice"


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_proposals_learn_from_points_beside_the_space_too(tmp_path: Path, sampler: str) -> None:
    aside = {"optimizer": "sgd", "optimizer.sgd.lr": 0.5, "model.encoder.name": "vgg16"}
    sweep = replace(SWEEP, first=(aside,), strategy=Bayes(trials=30, sampler=sampler))  # type: ignore[arg-type]
    study = Study(new_run(tmp_path), sweep)
    params = [study.params(study.ask()) for _ in range(9)]
    observed = [
        (Observation(params=point, epochs=1, best=(0.1 * n,), seconds=1.0), {})
        for n, point in enumerate(params)
    ]
    assert study.params(study.ask(observed))["optimizer"] == "adamw"


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_proposal_walks_no_type_hints_however_many_trials_are_seen(
    tmp_path: Path, sampler: str
) -> None:
    strategy = Bayes(trials=99, sampler=sampler)  # type: ignore[arg-type]
    study, drawn = Study(new_run(tmp_path), replace(SWEEP, first=(), strategy=strategy)), trials(40)
    observed = [
        (Observation(params=flatten(SPACE.config(SPACE(trial))), epochs=1, best=(0.5,)), {})
        for trial in drawn
    ]
    study.ask(observed[:1])
    before = [walk.cache_info().misses for walk in (schema, _hints)]
    study.ask(observed)
    assert [walk.cache_info().misses for walk in (schema, _hints)] == before


def test_an_end_that_was_recorded_but_not_reported_to_optuna_is_reported_by_the_next_driver(
    tmp_path: Path,
) -> None:
    run = new_run(tmp_path)
    name = Study(run, SWEEP).ask()
    run.note(name, "stopped", dice=0.4)
    after = Study(run, SWEEP)
    assert after.unfinished() == []
    assert after.study.trials[0].state == TrialState.PRUNED


def test_pinned_values_of_a_point_hold_for_that_trial_alone(tmp_path: Path) -> None:
    point = {"model.encoder.name": "mobilenet_v2", "model.encoder.weights": "some.pth"}
    sweep = Sweep(name="s", question="?", space=SPACE, first=(point,))
    study = Study(new_run(tmp_path), sweep)
    assert study.params(study.ask())["model.encoder.weights"] == "some.pth"
    others = [study.params(study.ask()).get("model.encoder.weights") for _ in range(5)]
    assert set(others) <= {"imagenet", None}


def test_the_study_opens_with_optuna_alone(tmp_path: Path) -> None:
    study = Study(new_run(tmp_path), SWEEP)
    study.ask()
    backend = optuna.storages.journal.JournalFileBackend(str(Run(tmp_path).journal))
    loaded = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert loaded.trials[0].user_attrs["arm"].startswith("plain U-Net")
    assert loaded.metric_names == ["dice"]


def test_listed_points_come_once_a_seed_and_nothing_is_drawn(tmp_path: Path) -> None:
    study = Study(new_run(tmp_path), LISTED)
    params = [study.params(study.ask()) for _ in range(LISTED.trials)]
    assert [p["seed"] for p in params] == [3] * 4 + [5] * 4
    for seed, half in ((3, params[:4]), (5, params[4:])):
        expected = [LISTED.space.config({**point, "seed": seed}) for point in REPORT_MODELS]
        assert [build(TrialConfig(), p) for p in half] == expected


def test_optuna_s_terminator_is_asked_only_once_it_has_enough_trials(tmp_path: Path) -> None:
    space = Space(TrialConfig(epochs=1), search=("optimizer.adamw.lr",))
    study = Study(new_run(tmp_path), Sweep(name="s", question="?", space=space))
    for number in range(24):
        assert not study.exhausted(noise=10.0) or number >= 20
        end(study, study.ask(), "done", 0.8 + 0.001 * (number % 3))
    assert "Optuna's terminator" in study.exhausted(noise=10.0)
    assert not study.exhausted(noise=0.0) and not study.exhausted(noise=1e-9)
