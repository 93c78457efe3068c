"""A trial that makes no progress is mentioned, then ended and tried again from its checkpoint."""

import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread

import psutil
import pytest
import torch

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep
from brainseg.data.phantom import write_phantoms
from brainseg.launch.job import Job
from brainseg.launch.room_timeout import End, Wait, Warn
from brainseg.launch.run import run_sweep
from brainseg.launch.stall import StallTimeout
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.task import Task
from brainseg.training.trial import run_trial
from tests.support.trials import nothing, untimed

Decision = Wait | Warn | End


def trial(*, minutes: float = 30, epoch_seconds: float = 0.0, started: bool = True) -> StallTimeout:
    """A trial "t" at second 0, whose processes have started, or are about to."""
    timeout = StallTimeout(minutes=minutes)
    timeout.start("t", -1.0, "before")
    timeout.trained("t", epoch_seconds)
    assert timeout.decide("t", 0.0, "after" if started else "before") in (Wait(), Wait(1.0))
    return timeout


def quiet(timeout: StallTimeout, until: float, *, since: float = 0.0) -> dict[float, Decision]:
    """What is decided in looks of 5 s at a trial that does not get on, where it is not to wait."""
    looks = {}
    while since < until:
        since += 5
        decision = timeout.decide("t", since, "after")
        if not isinstance(decision, Wait):
            looks[since] = decision
        if isinstance(decision, End):
            break
    return looks


def test_it_is_mentioned_once_after_some_of_its_own_epochs_and_ended_after_the_limit() -> None:
    assert quiet(trial(epoch_seconds=120), 4000) == {720: Warn(720), 1800: End(1800)}
    assert quiet(trial(epoch_seconds=2), 4000) == {60: Warn(60), 1800: End(1800)}


def test_a_trial_of_long_epochs_is_never_ended_within_three_of_them() -> None:
    assert quiet(trial(epoch_seconds=3600), 20_000) == {5400: Warn(5400), 10_800: End(10_800)}


def test_a_start_has_four_times_longer_and_so_has_the_first_epoch() -> None:
    timeout = StallTimeout(minutes=30)
    timeout.start("t", 0.0, "after")
    timeout.trained("t", 2.0)
    assert quiet(timeout, 20_000) == {3600: Warn(3600), 7200: End(7200)}
    assert quiet(trial(epoch_seconds=0), 20_000) == {3600: Warn(3600), 7200: End(7200)}


def test_without_a_limit_it_is_mentioned_and_never_ended() -> None:
    assert quiet(trial(minutes=0, epoch_seconds=60), 100_000) == {360: Warn(360)}
    assert quiet(trial(minutes=0), 100_000) == {}


@pytest.mark.parametrize("marks", ["a batch", "a row"])
def test_whatever_changes_in_its_folder_is_progress(marks: str) -> None:
    timeout = trial(minutes=1, epoch_seconds=1)
    assert quiet(timeout, 55) == {30: Warn(30)}
    assert timeout.decide("t", 60.0, marks) == Wait()
    assert timeout.decide("t", 85.0, marks) == Wait(25.0), "and counts from there"


def test_its_longest_epoch_counts_not_its_last() -> None:
    timeout = trial(minutes=1, epoch_seconds=0)
    timeout.trained("t", 100.0)
    timeout.trained("t", 5.0)
    assert quiet(timeout, 1000)[300] == End(300)


def test_a_trial_that_had_to_wait_for_room_starts_only_then() -> None:
    timeout = trial(minutes=1, epoch_seconds=1)
    quiet(timeout, 55)
    timeout.restart("t")
    assert quiet(timeout, 1000, since=55) == {175: Warn(120), 295: End(240)}


def test_a_driver_that_was_stopped_itself_blames_no_trial() -> None:
    """An hour between two looks says nothing about what the trial did in it."""
    timeout = trial(minutes=5, epoch_seconds=1)
    assert timeout.decide("t", 3600.0, "after") == Warn(60.0)
    assert timeout.decide("t", 3605.0, "after") == Wait(65.0)


SWEEP = Sweep(
    name="stall",
    question="Is a trial that hangs tried again?",
    space=Space(
        TrialConfig(
            model=Plain(width=4, depth=1, norm="none"), epochs=40, image_size=32, batch_size=8
        ),
        search=(),
    ),
    first=({},),
    strategy=Points(),
    split=Split(validation=0.3, test=0.0),
)


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=6, size=32)


@dataclass
class Stopped:
    """Stops one process of the only trial once it has finished two epochs; it stays stopped."""

    storage: Path
    rank: int = 0
    processes: list[int] = field(default_factory=list)

    @property
    def trial(self) -> TrialDir:
        return Run(self.storage / SWEEP.name).trial("0000")

    def stop(self) -> None:
        while len(self.trial.rows()) < 2:
            time.sleep(0.02)
        self.processes.append(read_lines(self.trial.starts)[-1]["workers"][self.rank]["process"])
        os.kill(self.processes[0], signal.SIGSTOP)


def run_stopped(patients: Path, storage: Path, *, workers: int) -> list[str]:
    """What a sweep prints whose trial is stopped in the middle; it is tried again and ends."""
    stopped, said = Stopped(storage, rank=workers - 1), list[str]()
    thread = Thread(target=stopped.stop, daemon=True)
    thread.start()
    job = Job(
        data=str(patients),
        storage=storage,
        wandb="off",
        workers=workers,
        stall_minutes=0.3 * workers,
    )
    run = run_sweep(SWEEP, job, log=said.append)
    thread.join()
    (record,) = run.trials()
    assert (record.state, record.reason) == ("done", "")
    starts = [line for line in read_lines(stopped.trial.starts) if "workers" in line]
    assert len(starts) == 2 and 0 < starts[1]["epoch"] < 40
    assert not psutil.pid_exists(stopped.processes[0])
    return said


@pytest.mark.ray
def test_a_stopped_process_is_ended_and_its_trial_ends_as_if_nothing_had_been(
    patients: Path, tmp_path: Path
) -> None:
    said = run_stopped(patients, tmp_path / "runs", workers=1)
    mention = (
        r"\[0000\] made no progress for .* s, its epochs take .* s; it is ended after .* s, see"
    )
    assert any(re.match(mention, line) for line in said), said
    assert any("[0000] made no progress for " in s and "are ended" in s for s in said), said
    disturbed = Run(tmp_path / "runs" / SWEEP.name)
    whole = Run(tmp_path / "whole")
    for path in (disturbed.sweep, disturbed.slices, disturbed.trial("0000").config):
        copy = whole.path / path.relative_to(disturbed.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    threads = disturbed.trial("0000").costs()[0]["threads"]
    run_trial(Task(whole.path, "0000", threads=threads), nothing, torch.device("cpu"))
    here, there = disturbed.trial("0000"), whole.trial("0000")
    assert [untimed(row) for row in here.rows()] == [untimed(row) for row in there.rows()]
    assert here.last.read_text() == there.last.read_text()
    assert here.patients.read_text() == there.patients.read_text()


@pytest.mark.cluster
@pytest.mark.ray
def test_of_two_workers_one_that_is_stopped_ends_both_and_they_start_again(
    patients: Path, tmp_path: Path
) -> None:
    said = run_stopped(patients, tmp_path, workers=2)
    assert sum("are ended" in line for line in said) == 1


@pytest.mark.cluster
@pytest.mark.ray
def test_a_trial_that_hangs_at_every_attempt_fails_and_says_so(
    patients: Path, tmp_path: Path
) -> None:
    """A file that never answers, as one of a server that is gone: read at each start."""
    folder = Run(tmp_path / SWEEP.name).trial("0000")
    folder.path.mkdir(parents=True)
    os.mkfifo(folder.lr_range)
    sweep = replace(SWEEP, first=({"lr": "auto", "schedule": "triangular"},))
    job = Job(data=str(patients), storage=tmp_path, wandb="off", stall_minutes=0.02)
    (record,) = run_sweep(sweep, job, log=print).trials()
    assert record.state == "failed"
    assert record.reason.startswith("made no progress for ")
    assert record.reason.endswith(" s at every attempt")
