"""How many trials fit at once, and what each of their workers gets."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import ray

# Peak memory of a training process on a CPU, float32: the heaviest of the report's models, by
# benchmarks/memory.py (the plain U-Net at width 64: 1.46 GB + 5535 bytes a pixel).
BYTES_PER_PROCESS = 1.5e9
BYTES_PER_PIXEL = 6_000


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What one trial is given, and how many trials run side by side."""

    workers: int  # processes of one trial
    cpus: int  # per worker
    gpus: float  # per worker
    concurrent: int  # trials at once

    @property
    def resources(self) -> dict[str, float]:
        """One worker's, as Ray names them."""
        gpu = {"GPU": self.gpus} if self.gpus else {}
        return {"CPU": float(self.cpus), **gpu}


def place(
    cluster: Mapping[str, float],
    *,
    workers: int,
    gpus: float | None,
    trials: int,
    pixels: int,
) -> Placement:
    """Fill the cluster with as many trials as it has room for.

    Args:
        cluster: what Ray counts: "CPU", "GPU", "memory" (bytes).
        workers: processes of one trial.
        gpus: GPUs of one worker; None takes one if the cluster has any.
        trials: how many there will be at most.
        pixels: of one batch, all images of all workers.

    Raises:
        ValueError: not even one trial fits; says what is short.
    """
    num_cpus, num_gpus = int(cluster.get("CPU", 0)), cluster.get("GPU", 0.0)
    each = (1.0 if num_gpus else 0.0) if gpus is None else gpus
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers > num_cpus:
        raise ValueError(f"{workers} workers need {workers} CPUs, there are {num_cpus}")
    if workers * each > num_gpus:
        raise ValueError(
            f"{workers} workers of {each:g} GPUs need {workers * each:g}, there are {num_gpus:g}"
        )
    fits = [trials, num_cpus // workers]
    if each:
        fits.append(int(num_gpus / (workers * each)))
    else:  # on a GPU the activations are not in the host's memory
        need = workers * BYTES_PER_PROCESS + pixels * BYTES_PER_PIXEL
        fits.append(int(cluster.get("memory", need) / need))
    concurrent = max(1, min(fits))
    return Placement(
        workers=workers,
        cpus=max(1, num_cpus // (concurrent * workers)),
        gpus=each,
        concurrent=concurrent,
    )


@contextmanager
def joined(address: str | None) -> Iterator[dict[str, float]]:
    """Join the cluster at ``address``, or start Ray on this machine; give what there is.

    A Ray that the caller had begun is used, and left as it is. The dashboard stays on: without it,
    placement groups of stopped trials are never freed.
    """
    begun = not ray.is_initialized()
    if begun:
        ray.init(
            address=address,
            include_dashboard=None if address else True,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield ray.cluster_resources()
    finally:
        if begun:
            ray.shutdown()
