"""A trial of several workers: Ray Train starts the processes; each runs ``trial.run_trial``.

Only these import PyTorch. The trial's own process and Ray's controller, which start before them
one after the other, import this module and do without: two seconds of CPU each.
"""

import os
from datetime import timedelta
from typing import Any

import ray
from ray import train
from ray.train import BackendConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from brainseg.records.cache import default_cache
from brainseg.records.storage import GONE_WORDS, StorageFault, storage_faults
from brainseg.training.task import Task

PATIENCE = timedelta(minutes=30)  # for a worker that does not answer the others


def train_together(
    task: Task,
    *,
    workers: int,
    resources: dict[str, float],
    together: bool,
    wait_seconds: float,
    callbacks: list[Any],
) -> None:
    """Run the trial as ``workers`` processes under DDP; ``callbacks`` receive rank 0's rows.

    ``together`` keeps them on one machine; else Ray packs them on as few as it can. They wait for
    room for ``wait_seconds``; workers that cannot reach each other fail the trial at once.

    Call it in the trial's own process: Ray Train reads the environment where it is built. If one
    process dies, all are started again and resume from the last checkpoint.
    """
    if not task.folder.config.exists():  # Ray would make the folder of a run that went away
        raise StorageFault(task.run, GONE_WORDS)
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(wait_seconds)
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # the default, 2 s, delays each epoch
    threads = {"OMP_NUM_THREADS": str(task.threads)}  # Ray sets 1 where a shell exported 1
    # Without the controller's own limit, workers that cannot reach each other restart for ever.
    limits = FailureConfig(max_failures=2, controller_failure_limit=1)  # type: ignore[call-arg]
    trainer = DataParallelTrainer(
        _worker,
        train_loop_config={"task": task},
        backend_config=_Ranks(),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=resources.get("GPU", 0) > 0,
            resources_per_worker=resources,
            placement_strategy="STRICT_PACK" if together else "PACK",
        ),
        run_config=RunConfig(
            storage_path=str(task.run / "ray"),
            name=f"train-{task.trial}",
            callbacks=callbacks,
            failure_config=limits,
            worker_runtime_env={"env_vars": threads},  # type: ignore[call-arg]  # V2 only
        ),
    )
    trainer.fit()


class _Meeting(Backend):
    """The workers' process group, as ``ray.train.torch`` makes it; runs in Ray's controller."""

    share_cuda_visible_devices = True  # so that GPUs of one machine exchange data directly

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Let the workers meet at rank 0; those that cannot reach it raise."""
        library = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) else "gloo"
        host, port = worker_group.execute_single(0, get_address_and_port)
        place = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        ranks = range(len(worker_group))
        ray.get(
            [
                worker_group.execute_single_async(r, _meet, library, place, r, len(worker_group))
                for r in ranks
            ]
        )


class _Ranks(BackendConfig):
    """Has Ray Train let the workers meet."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _Meeting


def _meet(library: str, place: str, rank: int, world: int) -> None:
    from torch import distributed

    distributed.init_process_group(
        library, init_method=place, rank=rank, world_size=world, timeout=PATIENCE
    )


def _worker(loop_config: dict[str, Any]) -> None:
    import torch
    from ray.train.torch import get_device

    from brainseg.training.trial import run_trial

    task, device = loop_config["task"], get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with storage_faults(task.run, default_cache()):
        run_trial(task, lambda row: train.report(row.to_json()), device)
