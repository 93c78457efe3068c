"""What a worker is given to train: a run, a trial, a number of threads."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.records.files import read_json
from brainseg.records.queries import is_list
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.compute.plan import Compute


class TrialFailed(RuntimeError):
    """The trial cannot succeed as it is configured; a retry would not help."""


class Diverged(TrialFailed):
    """The training loss, or what training changes, became NaN or infinite."""


@dataclass(frozen=True)
class Task:
    """The trial that a process trains; everything else is read from the run's folder."""

    run: Path
    trial: str
    threads: int = 1  # CPU threads for torch, and as many that prepare batches
    first_to: Path | None = None  # a folder for checkpoints on their way; None: as it is best
    checkpoint_every: float | None = None  # seconds; None: so seldom that it costs 2 % of them
    compute: Compute | None = None  # as it was recorded; None: as is fastest here

    @property
    def folder(self) -> TrialDir:
        return Run(self.run).trial(self.trial)

    @cached_property
    def config(self) -> TrialConfig:
        return build(TrialConfig(), self.folder.params())

    @cached_property
    def scored_last(self) -> bool:
        """Whether its last epoch is what counts, as in a list of points; in a search, its best."""
        return is_list({"strategy": {}, **read_json(Run(self.run).sweep, kind=dict)})

    @property
    def kept_network(self) -> Path:
        """The file of the network that counts, which stays when the trial has ended."""
        return self.folder.last_network if self.scored_last else self.folder.best_network
