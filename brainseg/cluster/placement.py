"""How many trials fit into the machines at once, and what each worker gets.

A worker needs all its CPUs and GPUs on one machine, so room is counted machine by machine.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor, inf, isfinite

# Peak memory of a training process on a CPU, float32: the heaviest of the report's models, by
# benchmarks/memory.py (the plain U-Net at width 64: 1.46 GB + 5535 bytes a pixel).
BYTES_PER_PROCESS = 1.5e9
BYTES_PER_PIXEL = 6_000
CPUS_PER_GPU_WORKER = 8  # as many threads as prepare batches at most (trial.PREPARERS)


class NoRoom(ValueError):
    """Not even one trial fits; more machines would help."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one machine offers, as Ray counts it."""

    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 0.0  # bytes; 0: not known

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU(s)" if self.gpus else ""
        return f"{self.cpus:g} CPU(s){gpus}"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What one trial is given, and how many trials run side by side."""

    workers: int  # processes of one trial
    cpus: int  # per worker
    gpus: float  # per worker
    concurrent: int  # trials at once, on the machines that there were
    together: bool = True  # all workers of a trial must be on one machine
    bytes_per_worker: float = 0.0  # of the host's memory

    @property
    def resources(self) -> dict[str, float]:
        """One worker's, as Ray names them."""
        gpu = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": float(self.cpus), **gpu}

    @property
    def needs(self) -> str:
        """What a trial takes, in words."""
        gpus = f" and {self.gpus:g} GPU(s)" if self.gpus else ""
        where = " on one machine" if self.together and self.workers > 1 else ""
        return f"{self.workers} worker(s) of {self.cpus} CPU(s){gpus}{where}"


def place(
    rooms: Sequence[Room], *, workers: int, gpus: float | None, trials: int, pixels: int
) -> Placement:
    """Fill the machines with as many trials as they have room for, then share out their CPUs.

    A trial's workers stay on one machine unless spreading them lets more trials run at once.

    Args:
        rooms: one for each machine.
        workers: processes of one trial.
        gpus: GPUs of one worker, a share of one or whole ones; None takes one if there are any.
        trials: how many there will be at most.
        pixels: of one batch: all images of all workers.

    Raises:
        NoRoom: not even one trial fits; says what is short.
        ValueError: a wrong value.
    """
    each = (1.0 if any(room.gpus for room in rooms) else 0.0) if gpus is None else gpus
    require_placeable(workers, each)
    memory = 0.0 if each else BYTES_PER_PROCESS + pixels / workers * BYTES_PER_PIXEL
    least = Placement(
        workers=workers,
        cpus=1,
        gpus=each,
        concurrent=1,
        together=False,
        bytes_per_worker=memory,  # on a GPU the activations are not in the host's memory
    )
    if memory and rooms and not capacity(rooms, least):  # the estimate may be high: let one try
        least = replace(least, bytes_per_worker=0.8 * max(r.memory for r in rooms) / workers)
    concurrent = min(trials, capacity(rooms, least))
    if concurrent < 1:
        raise NoRoom(short_of(rooms, least))
    loose = replace(least, concurrent=concurrent)
    # A worker with a GPU needs few CPUs; with fewer it also fits into smaller machines.
    most = min(int(max(room.cpus for room in rooms)), CPUS_PER_GPU_WORKER if each else sys.maxsize)
    goal = capacity(rooms, least) if each else concurrent
    choices = (replace(loose, cpus=cpus) for cpus in range(most, 0, -1))
    loose = next(choice for choice in choices if capacity(rooms, choice) >= goal)
    packed = replace(loose, together=True)
    return packed if capacity(rooms, packed) >= concurrent else loose


def capacity(rooms: Sequence[Room], placement: Placement) -> int:
    """Trials that fit into these machines at once, if nothing else runs there."""
    fits = [_workers_in(room, placement) for room in rooms]
    if placement.together:
        return sum(number // placement.workers for number in fits)
    return sum(fits) // placement.workers


def _workers_in(room: Room, placement: Placement) -> int:
    """Workers that fit into one machine."""
    fits = room.cpus // placement.cpus
    if 0 < placement.gpus < 1:
        shares = floor(1 / placement.gpus + 1e-9)  # of one GPU, never of two
        fits = min(fits, room.gpus * shares)
    elif placement.gpus:
        fits = min(fits, room.gpus // placement.gpus)
    if placement.bytes_per_worker:
        fits = min(fits, (room.memory or inf) // placement.bytes_per_worker)
    return int(fits)


def short_of(rooms: Sequence[Room], placement: Placement) -> str:
    """Why no trial fits, and what would help."""
    there = ", ".join(str(room) for room in rooms) or "none"
    return (
        f"no trial fits: each needs {placement.needs}, and the machines have {there}; lower "
        "--workers or --gpus-per-worker, or add machines"
    )


def require_placeable(workers: int, gpus: float) -> None:
    """Refuse workers that no machine could take, as ValueError."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not isfinite(gpus) or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(
            f"gpus-per-worker must be a share of one GPU, as 0.5, or a whole number, got {gpus:g}"
        )
    if 0 < gpus < 1 < workers:
        raise ValueError(
            f"two workers of one trial cannot share a GPU (NCCL refuses it), got {workers} workers "
            f"with {gpus:g} of a GPU each; give each a whole one, or take --workers 1"
        )
