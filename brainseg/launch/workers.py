"""A trial of several workers: Ray Train starts the processes; each runs ``trial.run_trial``."""

import os
from typing import Any

from ray import train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from brainseg.records.cache import default_cache
from brainseg.records.storage import GONE_WORDS, StorageFault, storage_faults
from brainseg.training.task import Task


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
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"task": task},
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


def _worker(loop_config: dict[str, Any]) -> None:
    # Here: the trial's process and Ray's controller import this module, and train nothing.
    from brainseg.training.trial import run_trial

    task = loop_config["task"]
    with storage_faults(task.run, default_cache()):
        run_trial(task, lambda row: train.report(row.to_json()), get_device())
