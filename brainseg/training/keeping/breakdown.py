"""A training that breaks down goes back, once, to a checkpoint of before its training loss broke.

Whether it broke is asked of the training loss alone, so that no validation patient has a say in
what is scored. The mean of an epoch shows a break that came early in it; one that came late shows
in the next epoch's, when a checkpoint of the epoch between holds a network that is broken already.
So the way back leads to the newest that is older, and from there on all random numbers are others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

from brainseg.records.checkpoint_index import content, epoch_of, indexed
from brainseg.records.files import Unreadable, read_json, write_json
from brainseg.training.distributed import Ranks
from brainseg.training.keeping.carried import CarriedFiles

STREAM = 2**20  # added to an epoch's number, it is that of no epoch and of no range test
LEARNED = 0.1  # of the first epoch's loss at least: less may be noise
GIVEN_BACK = 0.5  # of what was learned at least, see docs/log.md
WITHIN = 2  # epochs: a cyclical rate or unfreezing may give back as much, but slowly


def breakdown(losses: Sequence[float]) -> str:
    """How the last of an epoch's mean ``losses`` shows that training broke; "" if it did not."""
    *before, loss = losses
    first, lowest = before[0], min(before)
    learned, rise = first - lowest, loss - min(before[-WITHIN:])
    if learned >= LEARNED * first and rise >= GIVEN_BACK * learned > 0:
        return f"its mean loss of {first:.3f} fell to {lowest:.3f} and rose again to {loss:.3f}"
    return ""


class WayBack:
    """Whether a trial may go back, and whether it did.

    The folder says so before the trial does: killed meanwhile, it does the same when resumed.

    Args:
        flush: returns once all checkpoints are on the disk.
        is_open: whether the trial is scored at its last epoch; a search takes its best one.
    """

    def __init__(
        self, files: CarriedFiles, ranks: Ranks, flush: Callable[[], None], *, is_open: bool
    ) -> None:
        self.files, self.ranks, self.flush, self.is_open = files, ranks, flush, is_open
        self.path = files.folder.path / "went_back.json"
        self._again = 0  # the first epoch, from 1, that is trained again; 0 for none

    def load(self) -> None:
        """Read what the folder says; its files are those of the checkpoint by now."""
        self._again = self.ranks.broadcast(self._record().get("again", 0))
        self.files.carry(self.path)

    def _record(self) -> Mapping[str, Any]:
        """What the folder says; nothing where it is damaged: a checkpoint that has it mends it."""
        try:
            return read_json(self.path, kind=dict) if self.path.exists() else {}
        except Unreadable:
            return {}

    def leads(self, epoch: int) -> bool:
        """Whether the epoch after ``epoch`` may go back: once, and not before the third."""
        return self.is_open and epoch > 1 and not self._again

    def breakdown(self, epoch: int, loss: float) -> str:
        """How the ``loss`` of the epoch after ``epoch`` shows a break, if there is a way back."""
        if not self.leads(epoch):
            return ""
        rows = map(
            json.loads, self.files.texts.get(self.files.folder.metrics.name, "").splitlines()
        )
        losses = [row.get("train_loss", nan) for row in rows]
        why = breakdown([*losses, loss]) if losses else ""
        # Without a whole checkpoint to go back to it is better to train on.
        return self.ranks.broadcast(why if why and self._kept_before(epoch) else "")

    def _kept_before(self, epoch: int) -> int:
        """The epoch of the newest whole checkpoint of before ``epoch``; 0 for none."""
        self.flush()
        folder = self.files.folder.path
        older = {file: sha for file, sha in indexed(folder).items() if epoch_of(file) < epoch}
        return next((epoch_of(f) for f, sha in older.items() if content(folder / f, sha)), 0)

    def take(self, epoch: int, why: str) -> None:
        """Give up what followed a checkpoint of before ``epoch``, as the epoch after that broke."""
        if self.ranks.rank == 0:
            given_up = f"is given up, as epoch {epoch + 1} broke down: {why}"
            again = self._kept_before(epoch) + 1
            write_json(self.path, {"again": again, "why": given_up})

    def objection(self, state: Mapping[str, Any]) -> str:
        """Why a checkpoint of before the trial went back is not resumed from."""
        given_up = self.given_up(state)
        return given_up if given_up and state["epoch"] >= self._record()["again"] else ""

    def given_up(self, state: Mapping[str, Any]) -> str:
        """Why what followed a checkpoint of before the trial went back counts no more; "" else."""
        before = self.path.name not in state.get("files", {})
        return str(self._record().get("why", "")) if before else ""

    def attempt(self, epoch: int) -> int | None:
        """2 where ``epoch``, from 1, is one of those that are trained again or follow them."""
        return 2 if 0 < self._again <= epoch else None

    def stream(self, epoch: int) -> int:
        """Which random numbers ``epoch``, from 0, is trained with."""
        return epoch + STREAM if self.attempt(epoch + 1) else epoch
