"""What a trial leaves in its folder: proof of what was frozen, patients, panels, costs."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from brainseg.config.hyperparameters import (
    First,
    Gradual,
    Sgd,
)
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.training.keeping.checkpoint import drop_latest
from brainseg.training.task import TrialFailed
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.trials import CPU, SMALL, TINY, network_of, nothing, together, trained


def test_gradual_unfreezing_trains_block_after_block_and_proves_the_rest_unmoved(run: Run) -> None:
    config = replace(TINY, model=replace(SMALL, freeze=Gradual(until=0.8)), epochs=5)
    folder = trained(run, "t", config, nothing)
    assert [row.frozen_blocks for row in folder.rows()] == [5, 4, 3, 2, 0]
    stages = folder.audit()
    assert [(stage["epoch"], stage["blocks"]) for stage in stages] == [
        (1, 5),
        (2, 4),
        (3, 3),
        (4, 2),
        (5, 0),
    ]
    assert all(stage["changed"] == [] for stage in stages)
    tensors = [stage["tensors"] for stage in stages]
    assert tensors == sorted(tensors, reverse=True)
    assert tensors[-1] == 6, "what reaches no feature map: a convolution and its batch norm"


def test_a_frozen_tensor_that_moved_fails_the_trial(run: Run) -> None:
    config = replace(TINY, model=replace(SMALL, freeze=First(blocks=1)), epochs=1)
    trial = Trial(task_of(run, "t", config), CPU)
    trial.restore()
    with torch.no_grad():
        trial.learner.network.encoder.get_parameter("_conv_stem.weight")[0, 0, 0, 0] += 1
    with pytest.raises(TrialFailed, match="1 frozen tensors changed, the first is '_conv_stem"):
        trial.keeper.proof.audit(trial.epoch)
    assert run.trial("t").audit()[0]["changed"] == ["_conv_stem.weight"]


def test_the_last_epoch_s_patients_are_kept_once_and_not_the_best_one_s(run: Run) -> None:
    config = replace(TINY, epochs=2, optimizer=Sgd(lr=1e-9))
    states = []

    def look(row: EpochRow) -> None:
        states.append(run.trial("t").last.exists())

    folder = trained(run, "t", config, look)
    assert states == [False, True]
    last, rows = pd.read_csv(folder.last), folder.rows()
    assert last.columns.tolist() == pd.read_csv(folder.patients).columns.tolist()
    assert last["dice"].mean() == pytest.approx(rows[-1].dice)


def test_a_trial_that_stopped_early_has_no_last_epoch(run: Run) -> None:
    folder = run.trial("t")
    trained(run, "t", TINY, lambda row: folder.stop.write_text("fell behind") and None)
    assert folder.patients.exists() and not folder.last.exists()


def test_a_trial_of_a_list_keeps_the_network_that_was_scored_and_shows_it(listed: Run) -> None:
    config = replace(TINY, epochs=2, optimizer=Sgd(lr=1e-30))  # its first epoch is its best
    folder = trained(listed, "t", config, nothing)
    assert [row.best_epoch for row in folder.rows()] == [1, 1] and folder.notes() == []
    assert {path.name for path in folder.path.glob("[bl][ea]st.pt")} == {"last.pt"}
    drop_latest(folder.path)  # as the driver does at a trial's end
    trial = Trial(task_of(listed, "t", config), CPU)
    trial.learner.network.load_state_dict(network_of(folder.last_network))
    assert trial.validate().patient_table().to_csv(index=False) == folder.last.read_text()
    with np.load(folder.panels) as panels:
        assert panels["epoch"] == 2


def test_a_trial_of_a_list_that_has_not_ended_keeps_no_network_yet(listed: Run) -> None:
    folder = listed.trial("t")
    trained(listed, "t", TINY, lambda row: folder.stop.write_text("enough") and None)
    assert not folder.last_network.exists() and not folder.best_network.exists()
    assert folder.panels.exists(), "of its best epoch so far"


def test_panels_show_the_largest_tumour_of_each_validation_patient(run: Run) -> None:
    trial = Trial(task_of(run, "t", TINY), CPU)
    trial.run_epoch()
    trial.keeper.saves.flush()
    with np.load(run.trial("t").panels) as panels:
        assert panels["images"].shape == (2, 32, 32, 3)
        assert panels["truths"].any(axis=(1, 2)).all()
        assert panels["predictions"].shape == (2, 32, 32)
        assert panels["truths"].sum((1, 2)).tolist() == largest_tumours(trial)
        image_BCHW = torch.from_numpy(panels["images"]).permute(0, 3, 1, 2)
        with torch.no_grad():
            network, scaling_NC3 = trial.learner.network.eval(), trial.data.scaling_NC3
            logits_BHW = network(image_BCHW, scaling_NC3[trial.data.shown_rows])
        assert (panels["predictions"] == (logits_BHW > 0).numpy()).all()


def largest_tumours(trial: Trial) -> list[int]:
    """Pixels of the largest tumour of each validation patient."""
    pixels: dict[str, int] = {}
    for row in trial.data.validation_rows:
        patient, area = trial.data.patients[row], int(trial.data.pack.masks_NHW[row].sum())
        pixels[patient] = max(area, pixels.get(patient, 0))
    return list(pixels.values())


def test_every_epoch_says_what_it_took_and_the_first_of_a_process_its_start(run: Run) -> None:
    def cut(row: EpochRow) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", TINY, cut)
    rows = trained(run, "t", TINY, nothing).rows()
    assert [(row.start_seconds or 0) > 0 for row in rows] == [True, False, True]
    network = Trial(task_of(run, "other", TINY), CPU).learner.network
    for row in rows:
        assert row.parameters == sum(p.numel() for p in network.parameters())
        assert row.seconds == pytest.approx(row.train_seconds + row.score_seconds)
        slices = len(Trial(task_of(run, "other", TINY), CPU).data.validation_rows)
        assert 0 < row.milliseconds_per_image * slices <= 1000 * row.score_seconds


def test_notes_of_costs_hold_the_rows_times_and_all_that_came_between(run: Run) -> None:
    begun = time.monotonic()
    folder = trained(run, "t", TINY, nothing)
    passed = time.monotonic() - begun
    for part in ("train", "score"):
        noted = sum(cost[part] for cost in folder.costs())
        assert noted == pytest.approx(sum(row.number(f"{part}_seconds") for row in folder.rows()))
    assert all(cost["keep"] > 0 for cost in folder.costs())
    assert folder.costs()[0]["start"] > 0 and folder.costs()[0]["devices"] == 1
    assert 0.5 * passed < folder.device_seconds() <= passed


def test_two_workers_are_two_devices(run: Run, tmp_path: Path) -> None:
    folder = together(run, "pair", TINY, 2, tmp_path)
    assert {cost["devices"] for cost in folder.costs()} == {2}
    assert folder.device_seconds() > 2 * sum(row.seconds for row in folder.rows())


def test_a_failed_epoch_counts_in_the_costs(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, optimizer=Sgd(lr=1e30)), nothing)
    assert folder.ending().state == "failed" and not folder.rows()
    assert sum(cost["train"] for cost in folder.costs()) > 0
    assert folder.ending().device_seconds > 0
