"""What a trial costs, measured on a few of its own steps in a process of its own.

Run by `brainseg plan` as `python -m brainseg.planning.probe RUN TRIAL THREADS`: it prints one line
of JSON.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from brainseg.records.run import Run
from brainseg.training.compute.choice import machine_for
from brainseg.training.distributed import Ranks
from brainseg.training.lr_range import FEWEST
from brainseg.training.schedules import Setting
from brainseg.training.task import Task
from brainseg.training.trial import Trial

WARM_UP = 2  # steps that are taken and not timed: the first ones are slow
TIMED = 3  # steps at least
PATIENCE = 20.0  # seconds of timed steps, after which no further step is taken
BATCHES = 2  # that are scored
FAINT = 1e-9, 2e-9  # learning rates so low that the steps, at their usual cost, change nothing


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Costs of one trial in one process."""

    start_seconds: float  # network, data; no weights are read
    step_seconds: float  # median of a few
    image_seconds: float  # to score one
    keep_seconds: float  # that a checkpoint costs the training; on a CPU its writing, too
    peak_bytes: int  # resident on a CPU; what PyTorch allocated on a GPU
    capacity_bytes: int  # of the GPU; 0 on a CPU


class _Enough(Exception):
    """Steps were timed for PATIENCE seconds."""


def measure(task: Task, device: torch.device) -> Measured:
    """Build the trial, take a few steps, score twice, save as after a best epoch."""
    machine_for(task, device, Ranks.current())  # measured once a sweep, not at every start
    start = time.monotonic()
    trial = Trial(task, device)
    trial.restore()
    trial.machine.wait()
    ready = time.monotonic()
    step_seconds = _step_seconds(trial)
    few = trial.data.validation_rows[: BATCHES * task.config.batch_size]
    trial.data.validation_rows = few
    trial.validate()
    image_seconds = trial.validate().milliseconds_per_image / 1000
    saves = trial.keeper.saves
    saves.save(1, trial.learner.state(), counts=True)
    saves.flush()
    return Measured(
        start_seconds=ready - start,
        step_seconds=step_seconds,
        image_seconds=image_seconds,
        keep_seconds=saves.cost_seconds(),
        peak_bytes=peak_bytes(device),
        capacity_bytes=_capacity(device),
    )


def _step_seconds(trial: Trial) -> float:
    """The median time of a training step after the warm-up, augmentation included."""
    ticks: list[float] = []

    def watch(setting: Setting, loss: float) -> None:
        ticks.append(time.monotonic())
        warm = ticks[WARM_UP - 1 :]
        if len(warm) > TIMED and warm[-1] - warm[0] > PATIENCE:
            raise _Enough

    low, high = FAINT
    with suppress(_Enough):
        trial.range_test(steps=FEWEST, lowest=low, highest=high, on_step=watch)
    warm = ticks[WARM_UP - 1 :]
    return median(after - before for before, after in pairwise(warm))


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """This process's peak. psutil lacks it; ``getrusage`` includes the peak of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _capacity(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return 0


def in_own_process(run: Run, trial: str, *, threads: int, on_gpu: float) -> Measured | str:
    """Measure the trial whose config.json is in ``run``; a reason in words if it cannot run."""
    home = str(Path(__file__).parents[2])
    hidden = {} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "brainseg.planning.probe", str(run.path), trial, str(threads)],
        capture_output=True,
        text=True,
        env={**os.environ, **hidden, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode < 0:
        return f"the system ended it by signal {-done.returncode}, perhaps for lack of memory"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it failed without a message"])[-1]
    costs: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return str(costs["failed"]) if "failed" in costs else Measured(**costs)


def main() -> None:
    run, trial, threads = Run(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    task = Task(run.path, trial, threads=threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        print(json.dumps(asdict(measure(task, device))))
    except torch.OutOfMemoryError:
        print(json.dumps({"failed": "out of GPU memory"}))
    except ValueError as error:
        print(json.dumps({"failed": str(error)}))


if __name__ == "__main__":
    main()
