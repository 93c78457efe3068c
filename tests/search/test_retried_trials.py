"""Trials that failed and are tried again, and what Optuna gets of trials whose driver died."""

from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from brainseg.config.sweep import Bayes, Budget, Sweep
from brainseg.records.files import append_line, write_text
from brainseg.records.run import Run
from brainseg.search.study import Study
from tests.support.search_driver import SPACE, SWEEP, Driver

FLAT = Sweep(name="s", question="?", space=SPACE, strategy=Bayes(trials=3, grace_epochs=20))


def optuna_trials(run: Run, sweep: Sweep = FLAT) -> list[FrozenTrial]:
    return list(Study(run, sweep).study.trials)


def rows(run: Run, name: str, epochs: int) -> None:
    """Epochs that a trial has finished; its driver did not live to hear of them."""
    for epoch in range(len(run.trial(name).rows()) + 1, epochs + 1):
        row = {"epoch": epoch, "dice": epoch / 100, "best_dice": epoch / 100, "best_epoch": epoch}
        row |= {"seconds": 1.0, "devices": 1, "parameters": 7}
        append_line(run.trial(name).metrics, row)


def failed(path: Path, *, epochs: int = 2) -> Run:
    """A sweep of three trials that has ended; the second failed after some epochs."""
    driver = Driver(Run(path), FLAT)
    driver.drive(1)
    name = driver.search.next()
    assert name == "0001"
    driver.run.note(name, "running", params=driver.study.params(name))
    for epoch in range(1, epochs + 1):
        driver.epoch(name, epoch)
    write_text(driver.run.trial(name).failure, "out of memory")
    driver.search.on_return(name)
    driver.drive()
    assert driver.search.ended == "all 3 trials were tried"
    assert [r.state for r in driver.run.trials()] == ["done", "failed", "done"]
    return driver.run


def test_epochs_that_a_driver_did_not_live_to_report_reach_optuna_by_the_next_one(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path)
    killed = Driver(run, FLAT)
    names = [killed.search.next() or "" for _ in range(3)]
    for name in names:
        run.note(name, "running", params=killed.study.params(name))
        killed.epoch(name, 1)
        rows(run, name, 4)
    run.note(names[1], "stopped", dice=0.04)
    write_text(run.trial(names[2]).failure, "the loss became nan")
    after = Study(run, FLAT)
    Driver(run, FLAT)
    assert [set(t.intermediate_values) for t in after.study.trials] == [{1, 2, 3, 4}] * 3
    states = [TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL]
    assert [t.state for t in after.study.trials] == states
    assert run.record(names[2]).reason == "the loss became nan"


def test_a_rung_hears_of_an_epoch_whose_process_died_before_it_reported_it(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path), FLAT)
    name = driver.search.next() or ""
    driver.epoch(name, 1)
    rows(driver.run, name, 2)
    driver.epoch(name, 3)
    assert len(driver.scheduler.trials[name].best) == 3
    driver.train(name)
    assert set(optuna_trials(driver.run)[0].intermediate_values) == set(range(1, 10))


def test_a_failed_trial_that_is_tried_again_keeps_its_name_and_goes_on(tmp_path: Path) -> None:
    run = failed(tmp_path)
    assert Driver(run, FLAT).search.is_over()
    again = Driver(run, FLAT, retry=lambda record: "asked for")
    assert not again.search.is_over()
    again.drive()
    assert again.order == ["0001"] and again.search.ended == "all 3 trials were tried"
    record = run.record("0001")
    assert (record.state, record.epoch, record.reason) == ("done", 9, "")
    assert record.retry == "asked for; it had failed: out of memory"
    assert [row.epoch for row in run.trial("0001").rows()] == list(range(1, 10))
    assert (run.trial("0001").path / "failure.1").read_text() == "out of memory"
    events = [e for e in run.events() if e["trial"] == "0001"]
    assert [e["state"] for e in events] == ["running", "failed", "running", "running", "done"]
    assert [e["reason"] for e in events if e["state"] == "failed"] == ["out of memory"]


def test_optuna_has_one_more_trial_for_the_second_try_and_knows_both_by_one_name(
    tmp_path: Path,
) -> None:
    run = failed(tmp_path)
    first = Driver(run, FLAT, retry=lambda record: "asked for")
    assert first.search.next() == "0001"
    first.epoch("0001", 3)
    rows(run, "0001", 4)  # and then the driver dies
    second = Driver(run, FLAT)
    assert second.search.next() == "0001"
    second.train("0001")
    trials = optuna_trials(run)
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[3].user_attrs["retries"] == "0001" and trials[3].params == trials[1].params
    assert set(trials[3].intermediate_values) == set(range(1, 10))
    more = Driver(run, Sweep(name="s", question="?", space=SPACE, strategy=Bayes(trials=5)))
    more.drive()
    assert sorted({r.trial for r in run.trials()}) == ["0000", "0001", "0002", "0004", "0005"]
    assert more.search.ended == "all 5 trials were tried"


@pytest.mark.parametrize("cut", ["journal", "file"])
def test_a_driver_that_dies_while_it_reopens_a_trial_leaves_it_failed_and_the_next_one_tries(
    tmp_path: Path, cut: str
) -> None:
    run = failed(tmp_path)
    study = Study(run, FLAT)
    study.reopen("0001")
    if cut == "file":
        run.trial("0001").reopen()
    after = Driver(run, FLAT)
    assert after.search.is_over() and run.record("0001").reason == "out of memory"
    assert not [t for t in optuna_trials(run) if t.state == TrialState.RUNNING]
    again = Driver(run, FLAT, retry=lambda record: "asked for")
    again.drive()
    assert run.record("0001").state == "done"


def test_a_trial_that_fails_again_is_not_tried_again_by_the_same_driver(tmp_path: Path) -> None:
    run = failed(tmp_path)
    again = Driver(run, FLAT, retry=lambda record: "asked for")
    name = again.search.next() or ""
    write_text(run.trial(name).failure, "out of memory once more")
    again.search.on_return(name)
    assert again.search.next() is None and run.record(name).reason == "out of memory once more"
    assert [t.state.name for t in optuna_trials(run)].count("FAIL") == 2


def test_a_spent_budget_tries_nothing_again(tmp_path: Path) -> None:
    run = failed(tmp_path)
    spent = Sweep(name="s", question="?", space=SPACE, strategy=FLAT.strategy,
                  budget=Budget(device_hours=1 / 3600))  # fmt: skip
    assert Driver(run, spent, retry=lambda record: "asked for").search.is_over()
    assert run.record("0001").state == "failed"


def test_a_failed_trial_takes_its_place_among_the_rungs_again(tmp_path: Path) -> None:
    driver = Driver(Run(tmp_path), SWEEP)
    driver.drive(3)
    name = driver.search.next() or ""
    driver.epoch(name, len(driver.run.trial(name).rows()) + 1)
    write_text(driver.run.trial(name).failure, "out of memory")
    driver.search.on_return(name)
    again = Driver(driver.run, SWEEP, retry=lambda record: "asked for")
    again.drive()
    assert driver.run.record(name).state in ("paused", "done")
    assert len(driver.run.trials()) == 12
    running = [t for t in optuna_trials(driver.run, SWEEP) if t.state == TrialState.RUNNING]
    paused = [r for r in driver.run.trials() if r.state == "paused"]
    assert len(running) == len(paused)


def test_a_trial_whose_processes_died_goes_on_first_of_all_though_the_search_has_ended(
    tmp_path: Path,
) -> None:
    driver = Driver(Run(tmp_path), FLAT)
    name = driver.search.next() or ""
    driver.search.ended = "the budget of 1 hours is spent"
    assert driver.search.next() is None and driver.search.may_continue()
    driver.search.resume(name)
    assert driver.search.next() == name
    driver.train(name)
    assert driver.search.next() is None and not driver.search.may_continue()


def test_where_memory_is_short_fewer_trials_run_at_once_and_never_more_again(
    tmp_path: Path,
) -> None:
    driver = Driver(Run(tmp_path), FLAT, slots=4)
    assert driver.search.has_room(3)
    driver.search.limit(2)
    driver.search.limit(3)
    assert driver.search.has_room(1) and not driver.search.has_room(2)
