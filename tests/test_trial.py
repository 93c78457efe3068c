"""A trial's laws: n workers as one, cut off as never cut off, and clear words when it fails."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config import Augmentation, Encoder, Plain, Sgd, TrialConfig
from brainseg.layouts import find_slices
from brainseg.phantom import write_phantoms
from brainseg.records import Run, TrialDir, write_json
from brainseg.space import flatten
from brainseg.splits import split_by_patient
from brainseg.table import fingerprint
from brainseg.trial import Row, Task, Trial, run_trial, train

CPU = torch.device("cpu")
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


def trained(run: Run, trial: str, config: TrialConfig, report: Callable[[Row], None]) -> TrialDir:
    task = Task(run.path, trial, flatten(config))
    run_trial(task, report, CPU)
    return task.folder


def nothing(row: Row) -> None:
    pass


def together(run: Run, trial: str, config: TrialConfig, workers: int, folder: Path) -> TrialDir:
    """Train under real DDP over gloo, one process a worker."""
    meeting = folder / f"meeting-{trial}"
    mp.spawn(join, (workers, str(meeting), run.path, trial, config), nprocs=workers)
    return run.trial(trial)


def join(rank: int, world: int, meeting: str, run: Path, trial: str, config: TrialConfig) -> None:
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    train(Task(run, trial, flatten(config)), nothing, CPU)
    dist.destroy_process_group()


def weights(folder: TrialDir) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(folder.path / "best.pt", weights_only=True)
    return loaded["network"]


def test_two_workers_train_and_score_what_one_would(run: Run, tmp_path: Path) -> None:
    alone = trained(run, "alone", TINY, nothing)
    pair = together(run, "pair", TINY, 2, tmp_path)
    for one, two in zip(alone.rows(), pair.rows(), strict=True):
        assert one["train_loss"] == pytest.approx(two["train_loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(two["val_loss"], rel=1e-4)
    table, other = pd.read_csv(alone.patients), pd.read_csv(pair.patients)
    assert table["patient"].tolist() == other["patient"].tolist()
    assert table["slices"].tolist() == other["slices"].tolist()
    assert table["dice"].to_numpy() == pytest.approx(other["dice"].to_numpy(), abs=5e-3)


def test_batches_prepared_by_two_threads_train_to_the_same_bit_as_by_one(run: Run) -> None:
    found = []
    for threads in (1, 2):
        trial = Trial(Task(run.path, f"of-{threads}", flatten(TINY), threads=threads), CPU)
        torch.set_num_threads(1)  # the ninth digit of PyTorch's own sums depends on its threads
        rows = [trial.run_epoch() for _ in range(3)]
        for row in rows:
            del row["seconds"], row["images_per_second"]
        found.append((rows, trial.patient_table().to_csv()))
    assert found[0] == found[1]
    of_one, of_two = weights(run.trial("of-1")), weights(run.trial("of-2"))
    assert all(torch.equal(of_one[name], of_two[name]) for name in of_one)


def scored(rank: int, world: int, meeting: str, run: Path, config: TrialConfig) -> None:
    """Score a network as it was made, and write the table that rank 0 arrives at."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    trial = Trial(Task(run, "t", flatten(config)), CPU)
    trial.score()
    if rank == 0:
        trial.patient_table().to_csv(f"{meeting}.csv", index=False)
    dist.destroy_process_group()


def test_the_same_weights_give_exactly_the_same_table_on_three_workers_as_on_one(
    run: Run, tmp_path: Path
) -> None:
    config = replace(TINY, model=Encoder(name="resnet18", weights="none"))
    alone = Trial(Task(run.path, "t", flatten(config)), CPU)
    alone.score()
    meeting = str(tmp_path / "meeting")
    mp.spawn(scored, (3, meeting, run.path, config), nprocs=3)
    table = pd.read_csv(f"{meeting}.csv")
    assert table["fp"].sum() > 0, "an untrained network that predicts nothing would prove nothing"
    pd.testing.assert_frame_equal(table, alone.patient_table())


def test_a_trial_cut_off_after_any_epoch_ends_as_if_it_never_was(run: Run) -> None:
    config = replace(TINY, model=Plain(width=4, depth=2, dropout=0.2), epochs=4)
    whole = trained(run, "whole", config, nothing)

    def cut(row: Row) -> None:
        if row["epoch"] in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trained(run, "cut", config, cut)
    again = trained(run, "cut", config, cut)
    assert [row["epoch"] for row in again.rows()] == [1, 2, 3, 4]
    timed = ("seconds", "images_per_second")
    for one, two in zip(whole.rows(), again.rows(), strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in two.items() if k not in timed
        }
    for key, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[key]), key


def test_a_row_written_just_before_the_crash_is_not_doubled(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    shutil.copy(folder.metrics, folder.path / "copy")  # as if killed between row and checkpoint
    again = trained(run, "t", replace(TINY, epochs=2), nothing)
    assert [row["epoch"] for row in again.rows()] == [1, 2]


def test_a_trial_that_had_ended_when_its_driver_died_is_left_as_it_is(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    rows = folder.rows()

    def never(row: Row) -> None:
        raise AssertionError("an epoch too many")

    trained(run, "t", replace(TINY, epochs=1), never)
    assert folder.rows() == rows


def test_a_trial_that_is_told_to_stop_returns_before_its_next_epoch(run: Run) -> None:
    folder = run.trial("t")

    def stop_after_first(row: Row) -> None:
        folder.stop.write_text("fell behind")

    trained(run, "t", TINY, stop_after_first)
    ending = folder.ending(crashed=False)
    assert (ending.state, ending.reason, ending.epoch) == ("stopped", "fell behind", 1)
    assert (folder.path / "best.pt").exists()


def test_a_loss_that_is_not_finite_fails_the_trial_and_names_the_slices(run: Run) -> None:
    config = replace(TINY, optimizer=Sgd(lr=1e30), clip_norm=0.0)
    folder = trained(run, "t", config, nothing)
    ending = folder.ending(crashed=False)
    assert ending.state == "failed"
    assert "the loss became" in ending.reason and "PHANTOM_" in ending.reason


def test_damaged_checkpoints_fail_the_trial_instead_of_starting_it_afresh(run: Run) -> None:
    def cut(row: Row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", TINY, cut)
    for file in run.trial("t").path.glob("latest-*.pt"):
        os.truncate(file, 100)
    folder = trained(run, "t", TINY, nothing)
    assert "no checkpoint" in folder.ending(crashed=False).reason


def test_panels_show_the_largest_tumour_of_each_validation_patient(run: Run) -> None:
    trial = Trial(Task(run.path, "t", flatten(TINY)), CPU)
    trial.run_epoch()
    with np.load(run.trial("t").panels) as panels:
        assert panels["images"].shape == (2, 32, 32, 3)
        assert panels["truths"].any(axis=(1, 2)).all()
        assert panels["predictions"].shape == (2, 32, 32)
