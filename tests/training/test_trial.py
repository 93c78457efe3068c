"""A trial sets its rates, ends at a stop request, and says in words why it failed."""

from dataclasses import replace

import pytest
import torch

from brainseg.config.hyperparameters import (
    DiceBce,
    Sgd,
    Triangular,
)
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.training.keeping.checkpoint import drop_latest
from brainseg.training.lr_range import read_bounds
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.trials import CPU, NORMED, TINY, nothing, trained


def test_a_range_test_sets_the_bounds_and_leaves_the_network_as_it_was(run: Run) -> None:
    schedule = Triangular(cycle_epochs=2)
    config = replace(TINY, schedule=schedule, lr="auto", model=NORMED, loss=DiceBce())
    trial = Trial(task_of(run, "t", config), CPU)
    trial.restore()
    fresh = Trial(task_of(run, "fresh", replace(config, lr="given")), CPU)
    bounds = read_bounds(run.trial("t").lr_range)
    assert trial.schedule(0).lr == pytest.approx(bounds.low)
    assert trial.schedule(trial.data.steps).lr == pytest.approx(bounds.high)
    fresh_state, trial_state = (
        fresh.learner.network.state_dict(),
        trial.learner.network.state_dict(),
    )
    assert all(torch.equal(fresh_state[key], trial_state[key]) for key in fresh_state)
    assert trial.learner.optimizer.state_dict()["state"] == {}


def test_a_finished_trial_that_is_looked_at_keeps_every_byte(run: Run) -> None:
    folder = trained(run, "t", TINY, nothing)
    drop_latest(folder.path)  # as the search does at a trial's end
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    Trial(task_of(run, "t", TINY), CPU).validate()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_stop_request_ends_a_trial_before_its_next_epoch(run: Run) -> None:
    folder = run.trial("t")

    def stop_after_first(row: EpochRow) -> None:
        folder.stop.write_text("fell behind")

    trained(run, "t", TINY, stop_after_first)
    ending = folder.ending()
    assert (ending.state, ending.reason, ending.epoch) == ("stopped", "fell behind", 1)
    assert (folder.path / "best.pt").exists()


def test_a_loss_that_is_not_finite_fails_the_trial_and_names_the_slices(run: Run) -> None:
    config = replace(TINY, optimizer=Sgd(lr=1e30), clip_norm=0.0)
    folder = trained(run, "t", config, nothing)
    ending = folder.ending()
    assert ending.state == "failed"
    assert "the loss became" in ending.reason and "PHANTOM_" in ending.reason
