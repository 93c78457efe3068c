"""Which trials are above their bar, and which paused one resumes next, by the rungs of halving.py.

Kept as arrays, a row a trial: a judgement costs about as much among a thousand trials as among ten.
They hold nothing that does not follow from the trials' progress, so a new driver decides as the old
one would have.

Shapes: T trials, E epochs.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.records.trial_state import TrialState
from brainseg.search.halving import ALIKE, Halving, TrialProgress

Places = NDArray[np.int64]  # of trials, in the order of their starts
NUMBERS, FLAGS = ("kind", "epochs", "reached", "level"), ("between", "failed", "paused")
ROW = np.dtype([*((name, int) for name in NUMBERS), *((name, bool) for name in FLAGS)])


class Standings:
    """The progress of trials under the rungs of one search."""

    def __init__(self, halving: Halving, trials: Iterable[TrialProgress] = ()) -> None:
        self.halving = halving
        self.trials: list[TrialProgress] = []
        self._place: dict[str, int] = {}
        self._kinds: dict[tuple[int, int], int] = {}  # numbers of (planned epochs, cycle)
        self._all_rows: NDArray[Any] = np.zeros(0, ROW)  # some more than there are trials
        self._scores = np.zeros((0, 0))  # (T, E) after each epoch; after the last one it stays
        for progress in trials:
            self.put(progress)

    def put(self, progress: TrialProgress) -> None:
        """Take note of how far a trial has come, instead of what was known of it before."""
        place = self._place.setdefault(progress.trial, len(self.trials))
        if place == len(self.trials):
            self.trials.append(progress)
        self.trials[place] = progress
        kind, reached = (progress.epochs, progress.cycle), len(progress.best)
        self._make_room(len(self.trials), max(progress.epochs, reached))
        rungs = self.halving.rungs(*kind)
        self._rows[place] = (
            self._kinds.setdefault(kind, len(self._kinds)),
            progress.epochs,
            reached,
            sum(rung <= reached for rung in rungs),
            reached not in rungs,
            progress.state == TrialState.FAILED,
            progress.state == TrialState.PAUSED,
        )
        self._scores[place, :reached] = progress.best
        self._scores[place, reached:] = progress.best[-1] if reached else 0.0

    def reason(self, trial: str) -> str:
        """Why the trial pauses at this rung; "" if it does not."""
        place = self._place[trial]
        progress, epoch = self.trials[place], int(self._rows["reached"][place])
        if self._rows["between"][place]:
            return ""
        reduction, comparable = self.halving.reduction, self._comparable(place)
        where = f"paused at epoch {epoch} of {progress.epochs}"
        if len(comparable) < reduction:
            return (
                f"{where}: {len(comparable)} of the {reduction} comparable trials it needs "
                "have reached this epoch"
            )
        places = len(comparable) // reduction
        if self._rank(place, comparable) < places:
            return ""
        bar = np.sort(self._scores[comparable, epoch - 1])[-places]
        return (
            f"{where}: Dice {progress.best[-1]:.3f}; the best 1 in {reduction} of the "
            f"{len(comparable)} comparable trials ({_range(self._rows['epochs'][comparable])} "
            f"epochs) starts at {bar:.3f}"
        )

    def promotable(self) -> str | None:
        """The paused trial to resume next: of those above their bar the furthest, then the best.

        One that paused between rungs, because its driver ended, comes before all others.
        """
        names = (self.trials[place].trial for place in self._leaders())
        return next((name for name in names if not self.reason(name)), None)

    def finalist(self) -> str | None:
        """The paused trial to train to its end first, above its bar or not."""
        paused, level = np.flatnonzero(self._rows["paused"]), self._rows["level"]
        if not len(paused):
            return None
        furthest = paused[level[paused] == level[paused].max()]

        def share_above(place: int) -> float:
            comparable = self._comparable(place)
            return self._rank(place, comparable) / max(1, len(comparable))

        return self.trials[min(furthest.tolist(), key=share_above)].trial

    @property
    def _rows(self) -> NDArray[Any]:
        """(T,) of the trials that there are."""
        return self._all_rows[: len(self.trials)]

    def _make_room(self, trials: int, epochs: int) -> None:
        rows, columns = self._scores.shape
        if trials > rows:
            more = max(trials - rows, rows)  # twice as many, so that this is rarely needed
            self._all_rows = np.concatenate([self._all_rows, np.zeros(more, ROW)])
            self._scores = np.concatenate([self._scores, np.zeros((more, columns))])
        if epochs > columns:
            last = self._scores[:, -1:] if columns else np.zeros((len(self._scores), 1))
            self._scores = np.concatenate(
                [self._scores, np.repeat(last, epochs - columns, axis=1)], axis=1
            )

    def _leaders(self) -> Sequence[int]:
        """The first to resume of the paused trials that are judged alike; places, best first.

        Where it is below its bar, so are the others that reached its epoch in a training as long.
        """
        paused = np.flatnonzero(self._rows["paused"])
        rows = self._rows[paused]
        score = self._scores[paused, np.maximum(rows["reached"] - 1, 0)]
        order = np.lexsort((-score, -rows["level"], ~rows["between"]))
        epochs = self._scores.shape[1] + 1
        alike = (rows["level"] * epochs + rows["reached"]) * epochs + rows["epochs"]
        _, first = np.unique(alike[order], return_index=True)
        leaders: list[int] = paused[order][np.sort(first)].tolist()
        return leaders

    def _comparable(self, place: int) -> Places:
        """The trials that one is compared with at its last epoch, itself included."""
        rows = self._rows
        due = np.array([self._due(place, *kind) for kind in self._kinds])[rows["kind"]]
        return np.flatnonzero((rows["reached"] >= due) & (due > 0) & ~rows["failed"])

    def _due(self, place: int, epochs: int, cycle: int) -> int:
        """The epoch that a trial of so many must have reached to be compared; 0: it never is."""
        shorter, longer = sorted((epochs, self.trials[place].epochs))
        if longer > ALIKE * shorter:
            return 0
        epoch, level = int(self._rows["reached"][place]), int(self._rows["level"][place])
        rungs = self.halving.rungs(epochs, cycle)
        return min(epoch, rungs[level - 1]) if 0 < level <= len(rungs) else epoch

    def _rank(self, place: int, comparable: Places) -> int:
        """How many are better; of equal trials, the one that was started earlier is better."""
        epoch = self._rows["reached"][place]
        scores, score = self._scores[comparable, epoch - 1], self._scores[place, epoch - 1]
        return int(((scores > score) | ((scores == score) & (comparable < place))).sum())


def _range(lengths: NDArray[np.int64]) -> str:
    shortest, longest = lengths.min(), lengths.max()
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
