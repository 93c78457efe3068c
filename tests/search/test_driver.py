"""What comes next in a search, what resumes, when it ends, and what a new driver does."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.config.sweep import REPORT_MODELS, Bayes, Budget, Points
from brainseg.records.run import Run
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.scheduler import FINALISTS, TrialScheduler
from brainseg.search.study import Study
from tests.support.search_driver import LISTED, SWEEP, Driver, dice, end
from tests.support.written import new_run


def test_every_trial_is_begun_once_and_only_the_best_reach_their_end(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path))
    driver.drive()
    epochs = {r.trial: r.epoch for r in driver.run.trials()}
    assert sorted(epochs) == [f"{n:04d}" for n in range(12)]
    whole = {name for name, count in epochs.items() if count == 9}
    ranked = sorted(epochs, key=lambda name: -dice(name, 9))
    assert FINALISTS <= len(whole) < 7 and set(ranked[:2]) <= whole
    assert driver.search.ended == "all 12 trials were tried"


def test_a_paused_trial_resumes_where_it_paused_and_is_running_for_optuna(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path))
    driver.drive(3)
    assert [r.state for r in driver.run.trials()].count("paused") >= 2
    assert all(t.state == TrialState.RUNNING for t in driver.study.study.trials[:2])
    driver.drive()
    again = [name for name in driver.order if driver.order.count(name) > 1]
    assert again, "somebody was taken up again"
    rows = driver.run.trial(again[0]).rows()
    assert [row.epoch for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 14])
def test_a_search_that_was_cut_off_ends_as_one_that_was_not(tmp_path: Path, steps: int) -> None:
    whole = Driver(Run(tmp_path / "whole"))
    whole.drive()
    cut = Driver(Run(tmp_path / "cut"))
    cut.drive(steps)
    later = Driver(cut.run)
    later.drive()
    assert cut.order + later.order == whole.order
    rows = [
        {r.trial: [row.best_dice for row in run.trial(r.trial).rows()] for r in run.trials()}
        for run in (whole.run, cut.run)
    ]
    assert rows[0] == rows[1]


def test_a_trial_killed_between_its_rung_and_its_record_is_judged_by_the_next_driver(
    tmp_path: Path,
) -> None:
    killed = Driver(Run(tmp_path), curve=lambda name, epoch: 0.1 if name > "0001" else 0.5)
    killed.drive(2)
    name = killed.search.next()
    assert name == "0002"
    killed.run.note(name, "running", params=killed.study.params(name))
    killed.epoch(name, 1)  # its rung; and then the driver dies
    after = Driver(killed.run)
    state = next(r.state for r in after.run.trials() if r.trial == name)
    assert state == "paused" and name not in after.search._to_resume


def test_the_driver_after_a_killed_one_first_resumes_its_trials(
    tmp_path: Path,
) -> None:
    killed = Driver(Run(tmp_path))
    names = [killed.search.next(), killed.search.next()]
    lost = killed.study.study.ask()  # asked for, but killed before its config was written
    after = Driver(Run(tmp_path))
    *first, third = [after.search.next() for _ in range(3)]
    assert first == names and third
    point = after.run.trial(third).params()
    assert point["model.encoder.name"] == "resnet50"  # the lost trial's point, drawn anew
    states = {t.number: t.state for t in after.study.study.trials}
    assert states[lost.number] == TrialState.FAIL


def test_a_list_resumes_where_it_was_cut_off(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    killed = Study(run, LISTED)
    end(killed, first := killed.ask(), "done", 0.5)
    run.note(first, "done", params=killed.params(first))
    under_way = killed.ask()
    killed.study.ask()  # killed before its config was written: the third point
    study = Study(run, LISTED)
    budget_tracker = BudgetTracker(run, Budget())
    scheduler = TrialScheduler(run, None)
    search = SearchDriver(
        run, study, scheduler, budget_tracker, num_trials=LISTED.trials, slots=lambda: 9
    )
    rest = [search.next() or "" for _ in range(LISTED.trials - 1)]
    assert rest[0] == under_way
    assert search.next() is None and search.may_continue(), "the others are under way"
    whole = [build(TrialConfig(), study.params(name)) for name in ("0000", *rest)]
    expected = {LISTED.space.config({**p, "seed": s}) for p in REPORT_MODELS for s in (3, 5)}
    assert len(whole) == 8 and set(whole) == expected
    assert not any(run.trial(name).pause_epoch for name in rest), "a list never pauses"


@pytest.mark.parametrize("journal", ["whole", "lost"])
def test_seeds_added_to_a_list_are_trained_after_those_it_had(tmp_path: Path, journal: str) -> None:
    run = new_run(tmp_path)
    before = Study(run, LISTED)
    for number in range(LISTED.trials - 1):  # one of the first seeds' trials is still to come
        end(before, name := before.ask(), "failed" if number == 2 else "done", 0.5)
        run.note(name, run.trial(name).ending().state, params=before.params(name))
    if journal == "lost":
        run.journal.unlink()
    sweep = replace(LISTED, strategy=Points(seeds=(3, 5, 4)))
    for _ in range(2):  # the second continues what the first has queued
        study = Study(run, sweep)
        search = SearchDriver(
            run,
            study,
            TrialScheduler(run, None),
            BudgetTracker(run, Budget()),
            num_trials=sweep.trials,
            slots=lambda: 9,
        )
    names = list(iter(search.next, None))
    seeds = [study.params(name)["seed"] for name in names]
    assert seeds == [5, 4, 4, 4, 4], "each point once a seed, none of those that ended again"
    assert len({build(TrialConfig(), study.params(name)) for name in names}) == 5


def test_a_spent_budget_stops_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    budget = Budget(device_hours=10 / 3600)  # ten epochs of a second
    driver = Driver(Run(tmp_path), replace(SWEEP, budget=budget))
    driver.drive()
    rows = sum(len(driver.run.trial(r.trial).rows()) for r in driver.run.trials())
    assert rows == 10
    assert driver.search.ended == "the budget of 0.00277778 device-hours is spent"
    again = Driver(driver.run, replace(SWEEP, budget=budget))
    assert again.search.is_over() and "is spent" in again.search.ended


def test_the_end_of_a_budget_goes_to_the_best_so_far(tmp_path: Path) -> None:
    budget = Budget(device_hours=60 / 3600)
    sweep = replace(SWEEP, budget=budget, strategy=Bayes(trials=500, grace_epochs=1, reduction=3))
    driver = Driver(Run(tmp_path), sweep)
    driver.drive()
    epochs = [r.epoch for r in driver.run.trials()]
    assert sum(epoch == 9 for epoch in epochs) >= FINALISTS
    assert sum(epochs) <= 60


def test_patience_ends_a_search_that_no_longer_improves(tmp_path: Path) -> None:
    sweep = replace(
        SWEEP, budget=Budget(patience=6), strategy=Bayes(trials=200, grace_epochs=1, reduction=3)
    )
    flat = Driver(Run(tmp_path), sweep, curve=lambda name, epoch: 0.5 + 0.01 * (name == "0004"))
    flat.drive()
    begun = len(flat.run.trials())
    assert 10 <= begun < 40 and flat.search.ended.startswith("none of the last")
    assert "0.510" in flat.search.ended


def test_a_rung_that_was_reached_but_never_reported_is_judged_all_the_same(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path))
    driver.drive(2)
    name = driver.search.next()
    assert name
    on_epoch, driver.scheduler.on_epoch = driver.scheduler.on_epoch, lambda *args: None  # type: ignore[method-assign]
    driver.train(name)  # its process died after the row, before the report
    driver.scheduler.on_epoch = on_epoch  # type: ignore[method-assign]
    driver.drive()
    assert driver.search.ended and driver.order.count(name) <= 3


def test_a_driver_killed_while_it_queued_the_points_loses_none(tmp_path: Path) -> None:
    whole = Study(new_run(tmp_path), LISTED)
    count = len(whole.study.get_trials())
    cut = tmp_path / "cut"
    cut.mkdir()
    lines = (tmp_path / "study.journal").read_text().splitlines(keepends=True)
    for kept in range(4, len(lines)):
        (cut / "study.journal").write_text("".join(lines[:kept]))
        study = Study(new_run(cut), LISTED)
        pinned = [t.user_attrs.get("pinned") for t in study.study.get_trials()]
        assert len(pinned) == count
