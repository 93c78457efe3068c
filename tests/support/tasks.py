"""A trial's configuration on disk, and the task to train it."""

from pathlib import Path

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.records.run import Run
from brainseg.training.task import Task
from tests.support.written import write_json


def task_of(
    run: Run,
    trial: str,
    config: TrialConfig,
    *,
    threads: int = 1,
    checkpoint_every: float | None = 0.0,
    first_to: Path | None = None,
) -> Task:
    """What the search leaves of a new trial, and what a worker is given of it.

    Args:
        checkpoint_every: by default a checkpoint follows each epoch, as quick tests need it.
    """
    write_json(run.trial(trial).config, flatten(config))
    return Task(
        run.path, trial, threads=threads, checkpoint_every=checkpoint_every, first_to=first_to
    )
