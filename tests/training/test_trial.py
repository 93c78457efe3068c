"""A trial's laws: n workers as one, cut off as never cut off, and clear words when it fails."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config.hyperparameters import (
    Adam,
    Augmentation,
    DiceBce,
    Encoder,
    ExpRange,
    First,
    Gradual,
    Lovasz,
    OneCycle,
    Plain,
    Sgd,
    Step,
    TrialConfig,
    Triangular,
    Triangular2,
)
from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import split_by_patient
from brainseg.data.table import fingerprint, read_table
from brainseg.records.files import read_json, write_json
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training import checkpoint
from brainseg.training.lr_range import read_bounds
from brainseg.training.task import TrialFailed
from brainseg.training.trial import Trial, run_trial, train
from tests.support.tasks import task_of

CPU = torch.device("cpu")
TIMED = (
    *("seconds", "start_seconds", "train_seconds", "score_seconds"),
    *("images_per_second", "milliseconds_per_image"),
)
# No batch norm and no dropout: what is left is the same sum whatever the number of workers.
TINY = TrialConfig(
    model=Plain(width=4, depth=2, dropout=0.0, norm="none"),
    augment=Augmentation(),
    image_size=32,
    batch_size=6,
    epochs=3,
    precision="float32",
)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=7, size=48)


@pytest.fixture
def run(phantoms: Path, tmp_path: Path) -> Run:
    """A run's folder with seven-slice patients, so that nothing divides by 2 or by 6."""
    table = find_slices(phantoms)
    table["part"] = split_by_patient(table, validation=0.3, test=0.0)
    run = Run(tmp_path / "run")
    run.path.mkdir()
    table.to_csv(run.slices, index=False)
    data = {"root": str(phantoms), "fingerprint": fingerprint(table, phantoms)}
    write_json(run.sweep, {"data": data})
    return run


def trained(
    run: Run, trial: str, config: TrialConfig, report: Callable[[EpochRow], None]
) -> TrialDir:
    task = task_of(run, trial, config)
    run_trial(task, report, CPU)
    return task.folder


def nothing(row: EpochRow) -> None:
    pass


def together(run: Run, trial: str, config: TrialConfig, workers: int, folder: Path) -> TrialDir:
    """Train under real DDP over gloo, one process a worker."""
    meeting = folder / f"meeting-{trial}"
    mp.spawn(join, (workers, str(meeting), run.path, trial, config), nprocs=workers)
    return run.trial(trial)


def join(rank: int, world: int, meeting: str, run: Path, trial: str, config: TrialConfig) -> None:
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    train(task_of(Run(run), trial, config), nothing, CPU)
    dist.destroy_process_group()


def untimed(row: EpochRow) -> dict[str, Any]:
    """What must be the same however fast it was."""
    return {name: value for name, value in row.to_json().items() if name not in TIMED}


def weights(folder: TrialDir) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(folder.path / "best.pt", weights_only=True)
    return loaded["network"]


def test_two_workers_train_and_score_what_one_would(run: Run, tmp_path: Path) -> None:
    alone = trained(run, "alone", TINY, nothing)
    pair = together(run, "pair", TINY, 2, tmp_path)
    for one, two in zip(alone.rows(), pair.rows(), strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-4)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-4)
    table, other = pd.read_csv(alone.patients), pd.read_csv(pair.patients)
    assert table["patient"].tolist() == other["patient"].tolist()
    assert table["slices"].tolist() == other["slices"].tolist()
    assert table["dice"].to_numpy() == pytest.approx(other["dice"].to_numpy(), abs=5e-3)


def test_batches_prepared_by_two_threads_train_to_the_same_bit_as_by_one(run: Run) -> None:
    found = []
    for threads in (1, 2):
        trial = Trial(task_of(run, f"of-{threads}", TINY, threads=threads), CPU)
        torch.set_num_threads(1)  # the ninth digit of PyTorch's own sums depends on its threads
        rows = [untimed(trial.run_epoch()) for _ in range(3)]
        found.append((rows, trial.validate().patient_table().to_csv()))
    assert found[0] == found[1]
    of_one, of_two = weights(run.trial("of-1")), weights(run.trial("of-2"))
    assert all(torch.equal(of_one[name], of_two[name]) for name in of_one)


def scored(rank: int, world: int, meeting: str, run: Path, config: TrialConfig) -> None:
    """Score a network as it was made, and write the table that rank 0 arrives at."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    trial = Trial(task_of(Run(run), "t", config), CPU)
    validation = trial.validate()
    if rank == 0:
        validation.patient_table().to_csv(f"{meeting}.csv", index=False)
    dist.destroy_process_group()


def test_the_same_weights_give_exactly_the_same_table_on_three_workers_as_on_one(
    run: Run, tmp_path: Path
) -> None:
    config = replace(TINY, model=Encoder(name="resnet18", weights="none"))
    alone = Trial(task_of(run, "t", config), CPU).validate()
    meeting = str(tmp_path / "meeting")
    mp.spawn(scored, (3, meeting, run.path, config), nprocs=3)
    table = pd.read_csv(f"{meeting}.csv")
    assert table["fp"].sum() > 0, "an untrained network that predicts nothing would prove nothing"
    pd.testing.assert_frame_equal(table, alone.patient_table())


def test_a_trial_cut_off_after_any_epoch_ends_as_if_it_never_was(run: Run) -> None:
    config = replace(TINY, model=Plain(width=4, depth=2, dropout=0.2), epochs=4)
    whole = trained(run, "whole", config, nothing)

    def cut(row: EpochRow) -> None:
        if row.epoch in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trained(run, "cut", config, cut)
    again = trained(run, "cut", config, cut)
    assert [row.epoch for row in again.rows()] == [1, 2, 3, 4]
    assert [untimed(row) for row in whole.rows()] == [untimed(row) for row in again.rows()]
    for key, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[key]), key


SMALL = Encoder(name="efficientnet-b0", weights="none", decoder="fpn")
NORMED = Plain(width=4, depth=2, dropout=0.0)


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, schedule=Triangular2(cycle_epochs=3), optimizer=Sgd(lr=0.1)),
        replace(TINY, schedule=ExpRange(cycle_epochs=2, momentum_drop=0.1)),
        replace(TINY, schedule=OneCycle(), optimizer=Adam()),
        replace(TINY, schedule=Step(every_epochs=2)),
        replace(TINY, schedule=Triangular(cycle_epochs=3), lr="auto", model=NORMED, loss=DiceBce()),
        replace(TINY, model=replace(SMALL, freeze=Gradual(until=0.8), layer_decay=0.7)),
        replace(TINY, model=replace(SMALL, freeze=First(blocks=2)), loss=Lovasz()),
    ],
    ids=["triangular2", "exprange", "onecycle", "step", "lr=auto", "gradual", "first"],
)
def test_cut_off_in_the_middle_of_a_cycle_or_of_unfreezing_it_ends_with_the_same_weights(
    run: Run, config: TrialConfig
) -> None:
    config = replace(config, epochs=5)
    whole = trained(run, "whole", config, nothing)
    assert whole.ending().reason == ""

    def cut(row: EpochRow) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "cut", config, cut)
    again = trained(run, "cut", config, nothing)
    assert again.ending().reason == ""
    assert [row.lr for row in whole.rows()] == [row.lr for row in again.rows()]
    one, other = last_state(whole), last_state(again)
    assert all(torch.equal(one["network"][key], other["network"][key]) for key in one["network"])
    assert again.audit() == whole.audit()


def last_state(folder: TrialDir) -> checkpoint.Checkpoint:
    state = checkpoint.load_latest(folder.path)
    assert state
    return state


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
        trial.keeper.audit(trial.epoch)
    assert run.trial("t").audit()[0]["changed"] == ["_conv_stem.weight"]


def joined_weights(rank: int, world: int, meeting: str, run: Path, config: TrialConfig) -> None:
    """Train as one of several, and keep what this worker's network has become."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    trial = Trial(task_of(Run(run), "t", config), CPU)
    trial.restore()
    for _ in range(config.epochs):
        trial.run_epoch()
    torch.save(dict(trial.learner.network.named_parameters()), f"{meeting}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, model=replace(SMALL, freeze=Gradual(until=0.7))),
        replace(TINY, schedule=Triangular(cycle_epochs=2), lr="auto", loss=DiceBce()),
    ],
    ids=["gradual", "lr=auto"],
)
def test_workers_stay_equal_while_blocks_thaw_and_after_a_range_test(
    run: Run, tmp_path: Path, config: TrialConfig
) -> None:
    """Unfreezing beneath an old DDP wrapper would leave their gradients apart, without a word."""
    meeting = str(tmp_path / "meeting")
    mp.spawn(joined_weights, (2, meeting, run.path, config), nprocs=2)
    one, two = (torch.load(f"{meeting}-{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_range_test_sets_the_bounds_and_leaves_the_network_as_it_was(run: Run) -> None:
    schedule = Triangular(cycle_epochs=2)
    config = replace(TINY, schedule=schedule, lr="auto", model=NORMED, loss=DiceBce())
    trial = Trial(task_of(run, "t", config), CPU)
    fresh = Trial(task_of(run, "fresh", replace(config, lr="given")), CPU)
    bounds = read_bounds(run.trial("t").lr_range)
    assert trial.schedule(0).lr == pytest.approx(bounds.low)
    assert trial.schedule(trial.data.steps).lr == pytest.approx(bounds.high)
    given, found = fresh.learner.network.state_dict(), trial.learner.network.state_dict()
    assert all(torch.equal(given[key], found[key]) for key in given)
    assert trial.learner.optimizer.state_dict()["state"] == {}


def test_a_row_written_just_before_the_crash_is_not_doubled(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    shutil.copy(folder.metrics, folder.path / "copy")  # as if killed between row and checkpoint
    again = trained(run, "t", replace(TINY, epochs=2), nothing)
    assert [row.epoch for row in again.rows()] == [1, 2]


def folded(run: Run, folds: int) -> pd.DataFrame:
    """The run's patients in folds, the first of them locked away."""
    table = read_table(run.slices)
    names = sorted(set(table["patient"]))
    fold = {name: n % folds for n, name in enumerate(names[1:])}
    table["fold"] = [fold.get(name, -1) for name in table["patient"]]
    table["part"] = np.where(table["fold"] < 0, "test", "train")
    table.to_csv(run.slices, index=False)
    return table


def test_the_fold_that_the_config_names_validates_and_the_others_train(run: Run) -> None:
    table = folded(run, 2)
    for fold in (0, 1):
        config = replace(TINY, epochs=1, fold=fold)
        trial = Trial(task_of(run, f"{fold}", config), CPU)
        seen = set(table["patient"].iloc[trial.data.train_rows])
        last = pd.read_csv(trained(run, f"{fold}", config, nothing).last)
        assert set(last["patient"]) == set(table.loc[table["fold"] == fold, "patient"])
        assert seen == set(table.loc[table["fold"] == 1 - fold, "patient"])


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


def test_killed_between_its_last_row_and_its_last_patients_a_trial_ends_with_both(run: Run) -> None:
    whole = trained(run, "whole", TINY, nothing)
    cut = run.trial("cut")
    cut.last.mkdir(parents=True)  # nothing can be written there: as if killed just before
    with pytest.raises(IsADirectoryError):
        trained(run, "cut", TINY, nothing)
    assert [row.epoch for row in cut.rows()] == [1, 2, 3]
    cut.last.rmdir()
    trained(run, "cut", TINY, nothing)
    assert [row.epoch for row in cut.rows()] == [1, 2, 3]
    assert cut.last.read_text() == whole.last.read_text()


def test_killed_between_its_last_patients_and_its_last_checkpoint_it_ends_with_the_same(
    run: Run,
) -> None:
    folder = trained(run, "t", replace(TINY, epochs=2), nothing)
    last, rows = folder.last.read_text(), folder.rows()
    entries = read_json(folder.path / "checkpoints.json")
    (folder.path / entries[0]["file"]).unlink()
    write_json(folder.path / "checkpoints.json", entries[1:])  # that of the first epoch
    trained(run, "t", replace(TINY, epochs=2), nothing)
    assert folder.last.read_text() == last
    assert [row.dice for row in folder.rows()] == [row.dice for row in rows]


def test_a_trial_that_had_ended_when_its_driver_died_is_left_as_it_is(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    rows = folder.rows()

    def never(row: EpochRow) -> None:
        raise AssertionError("an epoch too many")

    trained(run, "t", replace(TINY, epochs=1), never)
    assert folder.rows() == rows


def test_a_trial_that_is_told_to_stop_returns_before_its_next_epoch(run: Run) -> None:
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


def test_damaged_checkpoints_fail_the_trial_instead_of_starting_it_afresh(run: Run) -> None:
    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", TINY, cut)
    for file in run.trial("t").path.glob("latest-*.pt"):
        os.truncate(file, 100)
    folder = trained(run, "t", TINY, nothing)
    assert "no checkpoint" in folder.ending().reason


def test_panels_show_the_largest_tumour_of_each_validation_patient(run: Run) -> None:
    trial = Trial(task_of(run, "t", TINY), CPU)
    trial.run_epoch()
    with np.load(run.trial("t").panels) as panels:
        assert panels["images"].shape == (2, 32, 32, 3)
        assert panels["truths"].any(axis=(1, 2)).all()
        assert panels["predictions"].shape == (2, 32, 32)


# What it costs


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


def test_an_epoch_that_failed_was_paid_for(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, optimizer=Sgd(lr=1e30)), nothing)
    assert folder.ending().state == "failed" and not folder.rows()
    assert sum(cost["train"] for cost in folder.costs()) > 0
    assert folder.ending().device_seconds > 0
