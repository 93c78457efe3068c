"""A trial saves so seldom that it costs little; what it loses when killed it trains again."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brainseg.config.hyperparameters import AdamW, Dice
from brainseg.records.checkpoint_index import epoch_of, on_disk
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.storage import StorageFault, storage_faults
from brainseg.records.trial_folder import TrialDir
from brainseg.training.keeping.save_points import LONGEST_SECONDS, SavePoints
from brainseg.training.task import TrialFailed
from brainseg.training.trial import Report, run_trial
from tests.support.killed import killed_after
from tests.support.tasks import task_of
from tests.support.trials import CPU, NORMED, TINY, network_of, nothing, untimed

SELDOM = 3600.0
CONFIG = replace(TINY, epochs=6)


def trained_seldom(run: Run, trial: str, report: Report = nothing) -> TrialDir:
    task = task_of(run, trial, CONFIG, checkpoint_every=SELDOM)
    run_trial(task, report, CPU)
    return task.folder


def saved(folder: TrialDir) -> list[int]:
    return sorted(map(epoch_of, on_disk(folder.path)))


def test_its_first_and_its_last_epoch_are_saved_and_those_between_are_not(run: Run) -> None:
    states = []

    def look(row: EpochRow) -> None:
        states.append((row.epoch, saved(run.trial("t")), len(run.trial("t").rows())))

    folder = trained_seldom(run, "t", report=look)
    assert [(rows, kept) for rows, kept, _ in states[1:-1]] == [(e, [1]) for e in (2, 3, 4, 5)]
    assert states[-1][1] == [1, 6], "before the last epoch is reported"
    assert [rows for *_, rows in states] == [1, 2, 3, 4, 5, 6], "a row after each epoch"
    every = task_of(run, "every", CONFIG)
    run_trial(every, nothing, CPU)
    assert [untimed(row) for row in folder.rows()] == [untimed(row) for row in every.folder.rows()]
    best, other = network_of(folder.best_network), network_of(every.folder.best_network)
    assert all(torch.equal(tensor, other[name]) for name, tensor in best.items())
    for name in ("patients", "last", "panels"):
        ours, theirs = getattr(folder, name), getattr(every.folder, name)
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_best_network_between_two_save_points_is_held_and_written_at_the_next(run: Run) -> None:
    config = replace(CONFIG, model=NORMED, loss=Dice(), optimizer=AdamW(lr=3e-2))
    whole, task = task_of(run, "w", config), task_of(run, "t", config, checkpoint_every=SELDOM)
    for each in (whole, task):
        run_trial(each, nothing, CPU)
    best = torch.load(task.folder.best_network, weights_only=True)
    assert 1 < best["epoch"] == task.folder.rows()[-1].best_epoch < 6, "else this shows nothing"
    expected = network_of(whole.folder.best_network)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in best["network"].items())
    with np.load(task.folder.panels) as panels, np.load(whole.folder.panels) as those:
        assert panels["epoch"] == best["epoch"]
        assert (panels["predictions"] == those["predictions"]).all()


@pytest.mark.parametrize("how", ["pause", "stop"])
def test_the_epoch_that_it_pauses_or_is_stopped_after_is_saved(run: Run, how: str) -> None:
    folder, states = run.trial("t"), dict[int, list[int]]()

    def follow(row: EpochRow) -> None:
        states[row.epoch] = saved(folder)
        if how == "stop" and row.epoch == 3:
            folder.stop.write_text("fell behind")

    folder.path.mkdir(parents=True)
    if how == "pause":
        folder.pause_after(3)
    trained_seldom(run, "t", report=follow)
    assert len(folder.rows()) == 3 and saved(folder) == [1, 3]
    if how == "pause":
        assert states[3] == [1, 3], "before it reports the epoch"
    assert all(thread.name != "brainseg-writer" for thread in threading.enumerate())


def test_a_storage_that_fails_under_the_writer_ends_the_trial_as_under_the_training(
    run: Run,
) -> None:
    folder = run.trial("t")
    reported = list[int]()

    def fail(row: EpochRow) -> None:
        reported.append(row.epoch)
        if row.epoch == 2:
            folder.path.rename(folder.path.with_name("gone"))

    task = task_of(run, "t", CONFIG, checkpoint_every=0.0)
    with pytest.raises((StorageFault, OSError)), storage_faults(run.path):
        run_trial(task, fail, CPU)
    assert reported == [1, 2]
    assert all(thread.name != "brainseg-writer" for thread in threading.enumerate())


def test_killed_between_two_save_points_it_trains_again_what_was_lost_and_says_so(run: Run) -> None:
    whole = task_of(run, "whole", CONFIG)
    run_trial(whole, nothing, CPU)
    for epoch, kept in ((4, [1]), (5, [1, 2])):  # the first epoch of each process is saved
        killed_after(run, "t", CONFIG, epoch, checkpoint_every=SELDOM)
        assert saved(run.trial("t")) == kept and len(run.trial("t").rows()) == epoch
    costs = len(run.trial("t").noted_costs())
    folder = trained_seldom(run, "t")
    rows = folder.rows()
    assert [untimed(row) for row in rows] == [untimed(row) for row in whole.folder.rows()]
    assert [row.repeats for row in rows] == [None, 1, 2, 2, 1, None]
    assert folder.notes() == [
        "epochs 2 to 4 were lost and are trained again; resumes after epoch 1",
        "epochs 3 to 5 were lost and are trained again; resumes after epoch 2",
    ]
    assert [cost["epoch"] for cost in folder.noted_costs()[:costs]] == [1, 2, 3, 4, 2, 3, 4, 5]
    assert sum(cost["train"] for cost in folder.costs()) > sum(
        row.train_seconds or 0 for row in rows
    )
    assert folder.last.read_bytes() == whole.folder.last.read_bytes()
    assert saved(folder) == [3, 6]


def test_a_trial_that_fails_keeps_the_best_network_that_its_rows_show(run: Run) -> None:
    def fail(row: EpochRow) -> None:
        if row.epoch == row.best_epoch > 1:
            raise TrialFailed("it cannot go on")

    config = replace(CONFIG, model=NORMED, loss=Dice(), optimizer=AdamW(lr=3e-2))
    task = task_of(run, "t", config, checkpoint_every=SELDOM)
    run_trial(task, fail, CPU)
    folder = task.folder
    assert folder.ending().reason == "it cannot go on" and saved(folder) == [1]
    kept = torch.load(folder.best_network, weights_only=True)
    assert kept["epoch"] == folder.rows()[-1].best_epoch > 1
    assert np.load(folder.panels)["epoch"] == kept["epoch"]


def state(value: float) -> dict[str, object]:
    return {"network": {"w": torch.full((4,), value)}, "optimizer": {}, "epoch": int(value)}


def save_points(folder: Path, every: float | None) -> SavePoints:
    return SavePoints(folder, folder / "best.pt", CPU, every)


def test_by_default_it_saves_as_soon_as_the_last_one_costs_two_percent_of_the_time(
    tmp_path: Path,
) -> None:
    saves = save_points(tmp_path, None)
    assert saves.is_due(), "what it costs is not known yet"
    saves.save(1, state(1), counts=True)
    saves.flush()
    assert not saves.is_due()
    while not saves.is_due():
        time.sleep(0.01)
    since = time.monotonic() - saves._at
    assert since >= 50 * saves.cost_seconds() > 0
    assert since < 50 * saves.cost_seconds() + 1.0


def test_it_saves_at_least_every_five_minutes_whatever_it_costs(tmp_path: Path) -> None:
    saves = save_points(tmp_path, None)
    saves.save(1, state(1), counts=True)
    saves.flush()
    saves.writer.seconds = 100.0  # on a file system that is slow
    assert not saves.is_due()
    saves._at -= LONGEST_SECONDS + 1
    assert saves.is_due()


def test_an_error_of_the_writer_is_raised_when_the_next_epoch_has_ended(tmp_path: Path) -> None:
    saves = save_points(tmp_path, 0.0)
    os.mkdir(tmp_path / "checkpoints.json")
    saves.save(1, state(1), counts=False)
    saves.writer.end()
    with pytest.raises(ValueError, match=r"checkpoints\.json must be a file, it is a folder"):
        saves.is_due()
