"""The study's laws: what Optuna is told, what comes next, who is stopped."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from brainseg.config import TrialConfig
from brainseg.records import Run, append_line, write_text
from brainseg.search import Halving, Rungs, Study, Suggestions, stopper
from brainseg.space import Choice, Space, build
from brainseg.sweep import REPORT_MODELS, Bayes, Points, Sweep

SPACE = Space(
    TrialConfig(),
    search=("model", "model.encoder.name", "model.encoder.freeze*", "optimizer.adamw.lr"),
    narrow={"model.encoder.name": Choice("vgg16", "resnet50", "mobilenet_v2")},
)
SWEEP = Sweep(name="s", question="?", space=SPACE, first=REPORT_MODELS, strategy=Bayes(trials=30))


LISTED = Sweep(
    name="s",
    question="?",
    space=Space(TrialConfig(), search=()),
    first=REPORT_MODELS,
    strategy=Points(seeds=(3, 5)),
)


def end(study: Study, name: str, state: str, dice: float | None = None) -> None:
    folder = study.run.trial(name)
    if dice is not None:
        row = {"epoch": 1, "dice": dice, "best_dice": dice, "best_epoch": 1}
        append_line(folder.metrics, {**row, "seconds": 1.0, "devices": 1})
        study.observe(name, 1, dice)
    if state != "done":
        write_text(folder.stop if state == "stopped" else folder.failure, "a reason")
    study.tell(name, folder.ending(crashed=False).state, dice)


def test_the_report_s_four_models_come_first_and_in_order(tmp_path: Path) -> None:
    study = Study(Run(tmp_path), SWEEP)
    params = [study.params(study.ask()) for _ in range(4)]
    assert params[0]["model"] == "plain"
    assert [p.get("model.encoder.name") for p in params[1:]] == ["vgg16", "resnet50", "resnet50"]
    assert params[3]["model.encoder.freeze.first.blocks"] == 2


def test_optuna_hears_complete_pruned_and_fail_and_nothing_stays_running(tmp_path: Path) -> None:
    study = Study(Run(tmp_path), SWEEP)
    end(study, study.ask(), "done", 0.8)
    end(study, study.ask(), "stopped", 0.3)
    end(study, study.ask(), "failed")
    trials = Study(Run(tmp_path), SWEEP).study.trials[:3]
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[0].value == 0.8
    assert trials[1].intermediate_values == {1: 0.3}


def test_an_interrupted_study_draws_what_an_uninterrupted_one_draws(tmp_path: Path) -> None:
    def drawn(folder: Path, *, reopened: bool) -> list[dict[str, object]]:
        folder.mkdir()
        study, found = Study(Run(folder), SWEEP), []
        for number in range(16):
            if reopened:
                study = Study(Run(folder), SWEEP)
            name = study.ask()
            found.append(study.params(name))
            end(study, name, "done", float(np.sin(number)))
        return found

    assert drawn(tmp_path / "a", reopened=False) == drawn(tmp_path / "b", reopened=True)


def test_a_driver_that_comes_after_a_killed_one_first_goes_on_with_its_trials(
    tmp_path: Path,
) -> None:
    killed = Study(Run(tmp_path), SWEEP)
    names = [killed.ask(), killed.ask()]
    lost = killed.study.ask()  # asked for, but killed before its config was written
    after = Suggestions(Study(Run(tmp_path), SWEEP), budget=4)
    first = [after.suggest(f"tune-{i}") for i in range(4)]
    assert [config["trial"] for config in first[:2]] == names
    assert first[2]["model.encoder.name"] == "resnet50"  # the lost trial's point, drawn anew
    states = {t.number: t.state for t in after.study.study.trials}
    assert states[lost.number] == TrialState.FAIL
    assert after.suggest("tune-4") == "FINISHED"


def test_an_end_that_was_noted_but_not_told_is_told_by_the_next_driver(tmp_path: Path) -> None:
    run = Run(tmp_path)
    name = Study(run, SWEEP).ask()
    run.note(name, "stopped", dice=0.4)
    after = Study(run, SWEEP)
    assert after.unfinished() == []
    assert after.study.trials[0].state == TrialState.PRUNED


def test_pinned_values_of_a_point_hold_for_that_trial_alone(tmp_path: Path) -> None:
    point = {"model.encoder.name": "mobilenet_v2", "model.encoder.weights": "some.pth"}
    sweep = Sweep(name="s", question="?", space=SPACE, first=(point,))
    study = Study(Run(tmp_path), sweep)
    assert study.params(study.ask())["model.encoder.weights"] == "some.pth"
    others = [study.params(study.ask()).get("model.encoder.weights") for _ in range(5)]
    assert set(others) <= {"imagenet", None}


def test_the_study_opens_with_optuna_alone(tmp_path: Path) -> None:
    study = Study(Run(tmp_path), SWEEP)
    study.ask()
    backend = optuna.storages.journal.JournalFileBackend(str(Run(tmp_path).journal))
    loaded = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert loaded.trials[0].user_attrs["arm"].startswith("plain U-Net")


def test_rungs_lie_at_grace_times_powers_of_the_reduction() -> None:
    rungs = Rungs(grace=4, reduction=3)
    assert [epoch for epoch in range(1, 120) if rungs.is_rung(epoch)] == [4, 12, 36, 108]


def test_a_rung_lets_the_best_third_pass_and_never_the_rest() -> None:
    rungs = Rungs(grace=1, reduction=3)
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, 90))
    passed = [s for i, s in enumerate(scores) if not rungs.stops(f"t{i}", 1, float(s))]
    assert max(scores) in passed
    assert len(passed) == pytest.approx(30, abs=8)  # the first to come are judged against few
    assert not rungs.stops("later", 2, 0.0), "between rungs nobody is judged"


def test_a_lone_trial_is_not_stopped_and_equals_are_not_either() -> None:
    rungs = Rungs(grace=2, reduction=3)
    assert not rungs.stops("a", 2, 0.5)
    assert not rungs.stops("b", 2, 0.5)
    assert "below" in rungs.stops("c", 2, 0.4)


def test_listed_points_come_once_a_seed_and_nothing_is_drawn(tmp_path: Path) -> None:
    study = Study(Run(tmp_path), LISTED)
    params = [study.params(study.ask()) for _ in range(LISTED.trials)]
    assert [p["seed"] for p in params] == [3] * 4 + [5] * 4
    for seed, half in ((3, params[:4]), (5, params[4:])):
        expected = [LISTED.space.config({**point, "seed": seed}) for point in REPORT_MODELS]
        assert [build(TrialConfig(), p) for p in half] == expected


def test_a_list_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    killed = Study(Run(tmp_path), LISTED)
    end(killed, killed.ask(), "done", 0.5)
    under_way = killed.ask()
    killed.study.ask()  # killed before its config was written: the third point
    after = Suggestions(Study(Run(tmp_path), LISTED), budget=LISTED.trials - 1)
    rest = [after.suggest(f"tune-{i}") for i in range(LISTED.trials)]
    assert rest[0]["trial"] == under_way and rest[-1] == "FINISHED"
    whole = [build(TrialConfig(), after.study.params("0000"))]
    whole += [
        build(TrialConfig(), {k: v for k, v in config.items() if k != "trial"})
        for config in rest[:-1]
    ]
    expected = {LISTED.space.config({**p, "seed": s}) for p in REPORT_MODELS for s in (3, 5)}
    assert len(whole) == 8 and set(whole) == expected


def test_only_what_is_drawn_may_be_stopped_early(tmp_path: Path) -> None:
    assert isinstance(stopper(Run(tmp_path), SWEEP), Halving)
    assert not isinstance(stopper(Run(tmp_path), LISTED), Halving)
