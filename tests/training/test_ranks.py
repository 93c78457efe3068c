"""Several workers train and validate one network as one would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config.hyperparameters import (
    DiceBce,
    Encoder,
    Gradual,
    TrialConfig,
    Triangular,
)
from brainseg.records.run import Run
from brainseg.training.trial import Trial
from tests.support.tasks import task_of
from tests.support.trials import CPU, SMALL, TINY, nothing, together, trained


def test_two_workers_train_and_score_what_one_would(run: Run, tmp_path: Path) -> None:
    alone = trained(run, "alone", TINY, nothing)
    pair = together(run, "pair", TINY, 2, tmp_path)
    for alone_row, pair_row in zip(alone.rows(), pair.rows(), strict=True):
        assert alone_row.train_loss == pytest.approx(pair_row.train_loss, rel=1e-4)
        assert alone_row.val_loss == pytest.approx(pair_row.val_loss, rel=1e-4)
    table, other = pd.read_csv(alone.patients), pd.read_csv(pair.patients)
    assert table["patient"].tolist() == other["patient"].tolist()
    assert table["slices"].tolist() == other["slices"].tolist()
    assert table["dice"].to_numpy() == pytest.approx(other["dice"].to_numpy(), abs=5e-3)


def scored(rank: int, world: int, meeting: str, run: Path, config: TrialConfig) -> None:
    """Score a network as it was made, and write the table that rank 0 arrives at."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    trial = Trial(task_of(Run(run), "t", config), CPU)
    validation = trial.validate()
    if rank == 0:
        validation.patient_table().to_csv(f"{meeting}.csv", index=False)
        np.save(f"{meeting}.npy", validation.shown_BHW)
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
    assert alone.shown_BHW.any() and (np.load(f"{meeting}.npy") == alone.shown_BHW).all()


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
    first, second = (torch.load(f"{meeting}-{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
