"""Small trials that run in a second, alone or as several workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config.hyperparameters import (
    Augmentation,
    Encoder,
    Plain,
    TrialConfig,
)
from brainseg.config.schema import flatten
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.splits.draw import split_by_patient
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.keeping import checkpoint
from brainseg.training.trial import run_trial, train
from tests.support.tasks import task_of
from tests.support.written import new_run, write_json

CPU = torch.device("cpu")


TIMED = (
    *("seconds", "start_seconds", "train_seconds", "score_seconds"),
    *("images_per_second", "milliseconds_per_image"),
    "repeats",
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


SMALL = Encoder(name="efficientnet-b0", weights="none", decoder="fpn")


NORMED = Plain(width=4, depth=2, dropout=0.0)


def run_of(data: Path, path: Path, *, kind: str = "bayes") -> Run:
    """A run's folder for trials on ``data``, of a search or of "points"."""
    table = find_slices(data)
    table["part"] = split_by_patient(table, validation=0.3, test=0.0)
    run = new_run(path)
    table.to_csv(run.slices, index=False)
    source = {"root": str(data), "fingerprint": fingerprint(table, data), "made_up": True}
    split = {"counts": {}, "shared_patients": 0}
    settings = {"name": path.name, "uid": "0123abcd", "question": "?", "objectives": ["dice"]}
    settings |= {"space": {}, "base": flatten(TINY), "fixed": {}, "first": [], "phase": "search"}
    write_json(run.sweep, {**settings, "data": source, "split": split, "strategy": {"kind": kind}})
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
    """What must be the same however fast it was, and however often it was killed."""
    return {name: value for name, value in row.to_json().items() if name not in TIMED}


def weights(folder: TrialDir) -> dict[str, torch.Tensor]:
    """Those of the network that a trial of a search keeps."""
    return network_of(folder.best_network)


def network_of(path: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, dict[str, torch.Tensor]] = torch.load(path, weights_only=True)
    return loaded["network"]


def last_state(folder: TrialDir) -> checkpoint.Checkpoint:
    state = checkpoint.newest(folder.path).state
    assert state
    return state
