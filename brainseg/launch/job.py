"""What a sweep is to run on: data, machines, and how it ended."""

from dataclasses import dataclass
from pathlib import Path

from brainseg.cluster.placement import require_placeable
from brainseg.records.run import Run
from brainseg.records.storage import MachineFault
from brainseg.tracking.account import Mode


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where and with what a sweep runs; nothing here changes what it finds."""

    data: str  # a path, or an address as s3://bucket/folder
    storage: Path
    layout: str = "auto"  # of the data, see data/formats/detect.py
    label: str = ""  # what of a mask is tumour, see data/labels.py
    workers: int = 1  # DDP processes of one trial
    gpus_per_worker: float | None = None  # None: one if there are any
    concurrent: int | None = None  # trials at once; None: as many as there is room for
    wait_minutes: float = 30.0  # for room in a shared cluster
    retry_failed: bool = False  # whatever they failed of
    stall_minutes: float = 30.0  # without progress, after which a trial is ended and tried again
    checkpoint_every: float | None = None  # seconds; None: so seldom that it costs 2 % of them
    earlier: Path | None = None  # the folder of a sweep whose trials this one starts from
    wandb: Mode = "offline"
    address: str | None = None  # of a Ray cluster; None starts one on this machine
    made_up: bool = False  # the data are phantoms
    command: str = ""  # as the user typed it

    def __post_init__(self) -> None:
        """Refuse what no machine can do, before anything is read or started."""
        require_placeable(self.workers, self.gpus_per_worker or 0.0)
        if self.concurrent is not None and self.concurrent < 1:
            raise ValueError(f"concurrent must be at least 1, got {self.concurrent}")
        if not self.wait_minutes >= 0:
            raise ValueError(f"wait must be at least 0 minutes, got {self.wait_minutes:g}")
        if not self.stall_minutes >= 0:
            raise ValueError(f"stall-minutes must be at least 0, got {self.stall_minutes:g}")
        if self.checkpoint_every is not None and not self.checkpoint_every >= 0:
            raise ValueError(
                f"checkpoint-every must be at least 0 seconds, got {self.checkpoint_every:g}"
            )


class Ended(ValueError):
    """A sweep ended early, but in good order: the same command again resumes it."""

    def __init__(self, run: Run, why: str) -> None:
        super().__init__(why)
        self.run = run


class RayGone(MachineFault):
    """Ray itself ended or crashed under a sweep; no trial has failed of it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Ray has ended: {why}; run the same command again to resume")
