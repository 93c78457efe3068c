"""When a trial saves, and how: copied while it waits, written by a thread while it trains on.

A save point holds all that must agree: the panels, the network that counts, and last the checkpoint
with the trial's small files. Between two of them only rows and tables are written, which a trial
that is killed then drops, and the best network is held in memory. So what is on disk never shows a
better epoch than the newest checkpoint knows of, but for a crash between the two files.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brainseg.training.keeping import checkpoint
from brainseg.training.keeping.checkpoint import Checkpoint
from brainseg.training.keeping.host_copy import HostCopy
from brainseg.training.keeping.local_first import drop_near, write_near
from brainseg.training.keeping.writer import Writer

COST_SHARE = 0.02  # of the time between two save points, what the last one cost, at most
LONGEST_SECONDS = 300.0  # between two, unless an epoch is longer


@dataclass(frozen=True)
class Counting:
    """The network that counts, copied, and the epoch after which it was."""

    network: Mapping[str, Any]
    epoch: int


class SavePoints:
    """Those of one process of a trial; its first epoch always ends in one.

    Args:
        folder: the trial's.
        network: the file of the network that counts.
        device: whose state it is. A CPU also writes, so that its writing counts in the cost.
        every: seconds from one to the next; None for what the cost allows.
        near: a folder of this machine that is written first, see ``local_first``; None for none.
    """

    def __init__(
        self,
        folder: Path,
        network: Path,
        device: torch.device,
        every: float | None,
        near: Path | None = None,
    ) -> None:
        self.near = near
        self.folder, self.network, self.device, self.every = folder, network, device, every
        self.competes = device.type == "cpu"  # whether writing takes time from the training
        self.writer = Writer()
        self.epoch = 0  # of the last save point of this process
        self._copy, self._best = HostCopy(device), HostCopy(device)
        self._lent = False  # whether what the latter holds may still be being written
        self._counting: Counting | None = None  # not written yet
        self._panels: Callable[[], None] | None = None  # writes them; not called yet
        self._waited = 0.0  # seconds, at the last save point
        self._at = self._looked = time.monotonic()  # the last save point; the last question

    def is_due(self) -> bool:
        """Whether an epoch that has just ended is to end in a save point.

        Raises:
            OSError: what was written last could not be; so does each of these methods.
        """
        is_busy, now = self.writer.is_busy(), time.monotonic()
        since, epoch_seconds, self._looked = now - self._at, now - self._looked, now
        if not self.epoch:
            return True
        if self.every is not None:
            return since >= self.every
        if since + epoch_seconds > LONGEST_SECONDS:
            return True
        return not is_busy and COST_SHARE * since >= self.cost_seconds()

    def cost_seconds(self) -> float:
        """What the last save point cost the training."""
        return self._waited + (self.writer.seconds if self.competes else 0.0)

    def hold(self, weights: Mapping[str, Any], epoch: int) -> None:
        """Hold a network that counts in memory, until the next save point or a better one."""
        if self._lent and self.writer.is_busy():
            self._best = HostCopy(self.device)
        self._counting, self._lent = Counting(self._best.of(weights), epoch), False

    def hold_panels(self, write: Callable[[], None]) -> None:
        """The next save point calls ``write``, unless other panels replace these before."""
        self._panels = write

    def forget(self) -> None:
        """Write nothing of what is held: the trial returns to what is on disk."""
        self._counting = self._panels = None

    def save(self, epoch: int, state: Checkpoint, *, counts: bool) -> None:
        """Copy the state after ``epoch``, and have all that is held written with it.

        Args:
            counts: whether the state's network is the one that counts now.
        """
        begun = time.monotonic()
        self.writer.wait()  # until then its copy is being written
        copied = self._copy.of(state)
        counting = Counting(copied["network"], epoch) if counts else self._counting
        panels, self._lent = self._panels, counting is self._counting is not None
        self.forget()

        def write() -> None:
            if panels:
                panels()
            if self.near:
                held = vars(counting) if counting else {}
                write_near(self.near, self.folder, self.network, held, copied)
            if counting:
                checkpoint.save_network(self.network, counting.network, counting.epoch)
            checkpoint.save_latest(self.folder, epoch, copied)
            if self.near:
                drop_near(self.near)

        self.writer.start(write)
        self.epoch, self._at = epoch, time.monotonic()
        self._waited = self._at - begun

    def flush(self) -> None:
        """Return once all that was saved is on the disk."""
        self.writer.wait()

    def save_held(self) -> None:
        """Write what is held, and no checkpoint: a trial that failed keeps what its rows show."""
        self.writer.wait()
        if self._panels:
            self._panels()
        if self._counting:
            checkpoint.save_network(self.network, self._counting.network, self._counting.epoch)
        self.forget()

    def close(self) -> None:
        """Let what is being written be written; whoever calls this has an error of its own."""
        self.writer.end()
