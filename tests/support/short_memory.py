"""Train a trial in a process whose address space is limited: `python FILE RUN TRIAL MEGABYTES`.

The limit counts from what the process holds once a trial of two images has warmed it up.
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.records.run import Run
from brainseg.training.task import Task
from brainseg.training.trial import run_trial
from tests.support.tasks import task_of


def limit(megabytes: int) -> None:
    """Let this process take so much more address space than it has now."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = size + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    run, trial, megabytes = Run(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    config = build(TrialConfig(), run.trial(trial).params())
    warm = task_of(run, "warm", replace(config, batch_size=2, epochs=1, image_size=64))
    run_trial(warm, lambda row: None, torch.device("cpu"))
    limit(megabytes)
    run_trial(Task(run.path, trial), lambda row: None, torch.device("cpu"))


if __name__ == "__main__":
    main()
