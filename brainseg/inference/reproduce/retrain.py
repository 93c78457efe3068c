"""A trial trained once more in a folder of its own, from its record: no Ray, no search.

What decided when it paused, stopped, was killed or moved to other machines is not repeated: it
changed no number, but where it went on in another way, with other threads for one. So it is trained
in the stages that the record shows, each of which resumes from the checkpoint of the one before.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from brainseg.data.address import is_address, local_path
from brainseg.data.fingerprint import what_differs
from brainseg.data.remote import local_copy
from brainseg.data.table import read_slices
from brainseg.inference.reproduce.record import Record, Stage
from brainseg.process import Log
from brainseg.records.cache import default_cache
from brainseg.records.files import read_json, write_json, write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.storage import storage_faults
from brainseg.records.trial_folder import TrialDir
from brainseg.training.guards import memory
from brainseg.training.task import Task
from brainseg.training.trial import run_trial

COPIED = ("slices.csv", "compute.json", "files.json")  # of the run, beside sweep.json


@dataclass(frozen=True)
class Progress:
    """Prints a line an epoch, with what the record has; it is sent to the first worker."""

    epochs: int
    recorded: Mapping[int, EpochRow]
    log: Log

    def __call__(self, row: EpochRow) -> None:
        before, was_validated = self.recorded.get(row.epoch), not isnan(row.dice)
        what = "dice" if was_validated else "train_loss"
        loss = f"loss {row.train_loss:.4f}  " * was_validated
        now = f"{loss}{what.removeprefix('train_')} {row.number(what):.6f}"
        known = f"recorded {before.number(what):.6f}" if before else "not in the record"
        same = "the same" if before and before.number(what) == row.number(what) else "another"
        verdict = f": {same}" if before else ""
        self.log(f"epoch {row.epoch}/{self.epochs}  {now}  {known}{verdict}")


def require_same_data(record: Record, data: str) -> None:
    """Refuse data that are gone or differ from those that the run recorded, as ValueError.

    Args:
        data: a folder or an address that holds them now; "" for where they were.
    """
    place = record.run.settings()["data"]
    root = local_copy(
        data or place["root"], default_cache(), copy="" if data else place.get("copy", "")
    )
    if not root.is_dir():
        raise ValueError(
            f"the run's data must be there, {root} is no folder; bring them back, or name the "
            "folder that holds them now with --data"
        )
    if difference := what_differs(record.run, read_slices(record.run.slices), root):
        raise ValueError(
            f"the run's data must be the same as when it started, those under {root} are not: "
            f"{difference}; restore them, or name the folder that holds them with --data"
        )


def device_for(record: Record) -> torch.device:
    """A GPU where it was trained on some and there are as many; else the CPU."""
    workers = max(stage.setup.workers for stage in record.stages())
    if record.is_of_gpu and torch.cuda.device_count() >= workers:
        return torch.device("cuda")
    return torch.device("cpu")


def retrain(
    record: Record, folder: Path, device: torch.device, *, threads: int | None, data: str, log: Log
) -> TrialDir:
    """Train the trial in ``folder``, to the epoch that it reached; return its folder there.

    Called again with the same folder, it resumes.

    Args:
        threads: of each worker; None for as many as were recorded.
    """
    copy = _copied(record, folder, data)
    recorded = {row.epoch: row for row in record.rows}
    progress = Progress(record.config.epochs, recorded, log)
    for stage in record.stages():
        rows = copy.rows()
        if copy.failure.exists() or (rows and rows[-1].epoch >= stage.until):
            continue
        if stage.went_back and not any(row.attempt for row in rows):
            write_json(copy.path / "went_back.json", stage.went_back)
        if stage.setup.parts > memory.parts_of(copy):
            memory.set_parts(copy, stage.setup.parts)
        copy.pause_after(stage.until)
        task = Task(
            folder,
            record.trial,
            threads=threads or stage.setup.threads,
            compute=stage.setup.compute,
        )
        with storage_faults(folder, default_cache()):
            _train(task, stage, progress, device)
    return copy


def _copied(record: Record, folder: Path, data: str) -> TrialDir:
    """A run's folder with one trial that is still to be trained, from ``data`` as they are now."""
    run = Run(folder)
    trial, settings = run.trial(record.trial), record.run.settings()
    if data:
        root = data if is_address(data) else str(local_path(data).resolve())
        settings["data"] = {**settings["data"], "root": root, "copy": ""}
    if not run.sweep.exists():
        run.create()
        for name in COPIED:
            if (path := record.run.path / name).is_file():
                write_text(folder / name, path.read_text(encoding="utf-8"))
        trial.create(record.folder.params())
    elif not trial.rows():
        trial.reopen()  # what kept it from starting may have been mended
    write_json(run.sweep, settings)
    return trial


def is_copy(record: Record, folder: Path) -> bool:
    """Whether ``folder`` is one that ``retrain`` has begun for this trial."""
    run = Run(folder)
    if not run.sweep.exists() or not run.trial(record.trial).config.exists():
        return False
    same = read_json(run.sweep, kind=dict).get("uid") == record.run.settings().get("uid")
    return same and run.trial(record.trial).params() == record.folder.params()


def _train(task: Task, stage: Stage, progress: Progress, device: torch.device) -> None:
    world = stage.setup.workers
    if world == 1:
        run_trial(task, progress, device)
        return
    while True:
        parts = memory.parts_of(task.folder)
        meeting = task.run / "meeting"
        meeting.unlink(missing_ok=True)
        try:
            spawn(_join, (world, str(meeting), task, device.type, progress), nprocs=world)
        except ProcessRaisedException:
            if task.folder.failure.exists():
                return
            if memory.parts_of(task.folder) == parts:  # else memory was short: in smaller parts
                raise
        else:
            return


def _join(rank: int, world: int, meeting: str, task: Task, kind: str, progress: Progress) -> None:
    """One of the processes that train together."""
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)
    library = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(library, f"file://{meeting}", rank=rank, world_size=world)
    try:
        run_trial(task, progress if rank == 0 else _silent, device)
    finally:
        with suppress(RuntimeError):
            distributed.destroy_process_group()


def _silent(row: EpochRow) -> None:
    """The first worker speaks for all."""
