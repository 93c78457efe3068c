"""A process of a trial that is killed at the very moment at which it would write a file."""

import multiprocessing as mp
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.training.trial import run_trial
from tests.support.tasks import task_of
from tests.support.trials import CPU, nothing


def killed_before(
    run: Run, trial: str, config: TrialConfig, file: str, first_to: Path | None = None
) -> None:
    """Train until the file of that name, or path, would take its place; then SIGKILL."""
    args = (run.path, trial, config, file, first_to)
    _until_killed(_train, args, f"{file} was never written")


def killed_after(
    run: Run, trial: str, config: TrialConfig, epoch: int, *, checkpoint_every: float
) -> None:
    """Train until that epoch is reported; then SIGKILL, once what was saved is on the disk."""
    args = (run.path, trial, config, epoch, checkpoint_every)
    _until_killed(_train_to, args, f"epoch {epoch} was never reported")


def _until_killed(target: Callable[..., None], args: tuple[Any, ...], else_say: str) -> None:
    """Run ``target`` in a process of its own, which must end by SIGKILL."""
    child = mp.get_context("spawn").Process(target=target, args=args)
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, else_say


def _train_to(
    run: Path, trial: str, config: TrialConfig, epoch: int, checkpoint_every: float
) -> None:
    def kill(row: EpochRow) -> None:
        if row.epoch == epoch:
            for thread in threading.enumerate():
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
            os.kill(os.getpid(), signal.SIGKILL)

    run_trial(task_of(Run(run), trial, config, checkpoint_every=checkpoint_every), kill, CPU)


def _train(run: Path, trial: str, config: TrialConfig, file: str, first_to: Path | None) -> None:
    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.rename" and file in (to := os.fsdecode(args[1]), Path(to).name):
            os.kill(os.getpid(), signal.SIGKILL)

    task = task_of(Run(run), trial, config, first_to=first_to)
    sys.addaudithook(watch)
    run_trial(task, nothing, CPU)
