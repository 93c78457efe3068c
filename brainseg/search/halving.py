"""How far a trial goes before its place is given to another: successive halving that pauses.

A trial pauses at its rungs and keeps its checkpoint. It goes on, at once or later, when it is among
the best 1 / reduction of its peers that came so far; so one that was judged against few is not lost
for good. Peers are trials of much the same planned length, since half of a long annealing schedule
says nothing about the end of a short one. Scores are compared at equal epochs: of a peer that ran
further, its best score until that epoch counts; a peer that waits at an earlier epoch, the cycle of
the judged trial being longer, counts with the score it waits with. Those that went on from there,
which set the bar, do have a score at that epoch.

Nothing is kept here: every answer is a function of what the records hold, so that a new driver
decides as the old one would have. How a driver uses it:

    at the end of each epoch   if epochs finished == halving.next_pause(progress) < planned epochs:
                                   pause where halving.reason(progress, trials) is not empty
    when a place is free       halving.promotable(trials), else a new trial
    when a new trial could not end within the budget
                               halving.finalist(trials), to be run to its end without a pause

Source: Li et al. (2020), "A system for massively parallel hyperparameter tuning", algorithm 2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from brainseg.records.trial_state import TrialState

ALIKE = 1.5  # planned epochs of peers differ by this factor at most
LAST_RUNG = 2 / 3  # of a trial's planned epochs: later, going on to the end costs little more


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a trial has come."""

    trial: str
    epochs: int  # planned
    best: tuple[float, ...] = ()  # score after each finished epoch, see `smoothed_best`
    cycle: int = 0  # epochs of a cycle of its learning rate; 0: not cyclical
    state: TrialState = TrialState.RUNNING


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Rungs at ``grace * reduction**k`` epochs; 1 in ``reduction`` goes on beyond each."""

    grace: int
    reduction: int

    def rungs(self, epochs: int, cycle: int = 0) -> tuple[int, ...]:
        """The epochs at whose end a trial is judged; of a cyclical schedule, ends of cycles."""
        return _rungs(self.grace, self.reduction, epochs, cycle)

    def next_pause(self, progress: Progress) -> int:
        """The epoch at whose end ``progress`` is judged next; its last one where none is left."""
        rungs = self.rungs(progress.epochs, progress.cycle)
        return next((rung for rung in rungs if rung > len(progress.best)), progress.epochs)

    def reason(self, progress: Progress, trials: Sequence[Progress]) -> str:
        """Why ``progress``, one of ``trials``, pauses at the rung it has come to, or nothing."""
        epoch, comparable = len(progress.best), self._comparable(progress, trials)
        if epoch not in self.rungs(progress.epochs, progress.cycle):
            return ""
        where = f"at epoch {epoch} of {progress.epochs}"
        if len(comparable) < self.reduction:
            return (
                f"{where} it waits until {self.reduction} trials came so far, {len(comparable)} did"
            )
        places = len(comparable) // self.reduction
        if _rank(progress, comparable) < places:
            return ""
        bar = sorted((score for _, score in comparable), reverse=True)[places - 1]
        lengths = [trial.epochs for trial, _ in comparable]
        return (
            f"{where} its Dice {progress.best[-1]:.3f} is not above {bar:.3f}, "
            f"the bar for 1 in {self.reduction} of the {len(comparable)} trials of "
            f"{_range(lengths)} epochs that came so far"
        )

    def promotable(self, trials: Sequence[Progress]) -> Progress | None:
        """The paused trial that goes on next: of those above their bar the furthest, then best.

        One that paused between rungs, its driver having ended, comes before all others.
        """
        failed: set[tuple[int, int, int]] = set()
        for trial in sorted(_paused(trials), key=self._priority, reverse=True):
            group = (self._level(trial), len(trial.best), trial.epochs)
            if group in failed:  # a better one of the same kind is below the bar
                continue
            if not self.reason(trial, trials):
                return trial
            failed.add(group)
        return None

    def finalist(self, trials: Sequence[Progress]) -> Progress | None:
        """The paused trial that deserves most to be run to its end, above its bar or not."""

        def final_priority(trial: Progress) -> tuple[int, float]:
            comparable = self._comparable(trial, trials)
            return self._level(trial), -_rank(trial, comparable) / max(1, len(comparable))

        return max(_paused(trials), key=final_priority, default=None)

    def _level(self, progress: Progress) -> int:
        """How many rungs it has come to."""
        rungs = self.rungs(progress.epochs, progress.cycle)
        return sum(rung <= len(progress.best) for rung in rungs)

    def _priority(self, progress: Progress) -> tuple[bool, int, float]:
        between = len(progress.best) not in self.rungs(progress.epochs, progress.cycle)
        return between, self._level(progress), progress.best[-1] if progress.best else 0.0

    def _comparable(
        self, progress: Progress, trials: Sequence[Progress]
    ) -> list[tuple[Progress, float]]:
        """The trials that ``progress`` is compared with, itself included, with their scores."""
        epoch, level = len(progress.best), self._level(progress)
        comparable = []
        for peer in trials:
            shorter, longer = sorted((peer.epochs, progress.epochs))
            if peer.state == TrialState.FAILED or longer > ALIKE * shorter:
                continue
            rungs = self.rungs(peer.epochs, peer.cycle)
            due = min(epoch, rungs[level - 1]) if 0 < level <= len(rungs) else epoch
            if len(peer.best) >= due > 0:
                comparable.append((peer, peer.best[min(epoch, len(peer.best)) - 1]))
        return comparable


def smoothed_best(dice: Sequence[float]) -> tuple[float, ...]:
    """A trial's score after each finished epoch: the mean Dice of the best fifth of its epochs.

    The single best epoch is luck as much as quality: of many noisy trials the one that shows the
    highest Dice is rarely the best (benchmarks/search_efficiency.py). Until the ninth epoch the
    best fifth is one epoch.
    """
    found = []
    for epochs in range(1, len(dice) + 1):
        best = sorted(dice[:epochs], reverse=True)[: max(1, epochs // 5)]
        found.append(sum(best) / len(best))
    return tuple(found)


@lru_cache(maxsize=4096)
def _rungs(grace: int, reduction: int, epochs: int, cycle: int) -> tuple[int, ...]:
    found: list[int] = []
    rung = grace
    while rung <= LAST_RUNG * epochs:
        end = -(-rung // cycle) * cycle if cycle else rung
        if end <= LAST_RUNG * epochs and end not in found:
            found.append(end)
        rung *= reduction
    return tuple(found)


def _paused(trials: Iterable[Progress]) -> list[Progress]:
    return [trial for trial in trials if trial.state == TrialState.PAUSED]


def _rank(progress: Progress, comparable: Sequence[tuple[Progress, float]]) -> int:
    """How many are better; of equals, those that were begun earlier are."""
    names = [trial.trial for trial, _ in comparable]
    if progress.trial not in names:
        return len(comparable)
    own = names.index(progress.trial)
    score = comparable[own][1]
    return sum(s > score or (s == score and i < own) for i, (_, s) in enumerate(comparable))


def _range(lengths: Sequence[int]) -> str:
    shortest, longest = min(lengths), max(lengths)
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
