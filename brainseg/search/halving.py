"""How many epochs a trial gets before another takes its place: successive halving with pauses.

A trial pauses at its rungs and keeps its checkpoint. It resumes, at once or later, when it is among
the best 1 / reduction of the comparable trials that reached this epoch, so a trial that was judged
against few others gets another chance. Comparable trials have a similar planned length, since half
of a long annealing schedule says nothing about the end of a short one. Scores are compared at equal
epochs: a trial that trained further counts with its best score up to that epoch. Trials with
another cycle may have paused at an earlier epoch; they count with their score there. The resumed
ones, which set the bar, have a score at the epoch itself.

No state is kept here: every answer is a function of the records, so a new driver decides as the
old one would have. How a driver uses it:

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

ALIKE = 1.5  # planned epochs of comparable trials differ by this factor at most
LAST_RUNG = 2 / 3  # of a trial's planned epochs: later, training to the end costs little more


@dataclass(frozen=True, kw_only=True)
class TrialProgress:
    """How far a trial has come."""

    trial: str
    epochs: int  # planned
    best: tuple[float, ...] = ()  # score after each finished epoch, see `smoothed_best`
    cycle: int = 0  # epochs of a cycle of its learning rate; 0: not cyclical
    state: TrialState = TrialState.RUNNING


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Rungs at ``grace * reduction**k`` epochs; 1 trial in ``reduction`` passes each."""

    grace: int
    reduction: int

    def rungs(self, epochs: int, cycle: int = 0) -> tuple[int, ...]:
        """The epochs at whose end a trial is judged; of a cyclical schedule, ends of cycles."""
        return _rungs(self.grace, self.reduction, epochs, cycle)

    def next_pause(self, progress: TrialProgress) -> int:
        """The epoch at whose end ``progress`` is judged next; its last one if no rung is left."""
        rungs = self.rungs(progress.epochs, progress.cycle)
        return next((rung for rung in rungs if rung > len(progress.best)), progress.epochs)

    def reason(self, progress: TrialProgress, trials: Sequence[TrialProgress]) -> str:
        """Why ``progress``, one of ``trials``, pauses at this rung; "" if it does not."""
        epoch = len(progress.best)
        if epoch not in self.rungs(progress.epochs, progress.cycle):
            return ""
        comparable = self._comparable(progress, trials)
        where = f"paused at epoch {epoch} of {progress.epochs}"
        if len(comparable) < self.reduction:
            return (
                f"{where}: {len(comparable)} of the {self.reduction} comparable trials it needs "
                "have reached this epoch"
            )
        places = len(comparable) // self.reduction
        if _rank(progress, comparable) < places:
            return ""
        bar = sorted((score for _, score in comparable), reverse=True)[places - 1]
        lengths = [trial.epochs for trial, _ in comparable]
        return (
            f"{where}: Dice {progress.best[-1]:.3f}; the best 1 in {self.reduction} of the "
            f"{len(comparable)} comparable trials ({_range(lengths)} epochs) starts at {bar:.3f}"
        )

    def promotable(self, trials: Sequence[TrialProgress]) -> TrialProgress | None:
        """The paused trial to resume next: of those above their bar the furthest, then the best.

        One that paused between rungs, because its driver ended, comes before all others.
        """
        below: set[tuple[int, int, int]] = set()
        for trial in sorted(_paused(trials), key=self._priority, reverse=True):
            group = (self._level(trial), len(trial.best), trial.epochs)
            if group in below:  # a better one of the same kind is below the bar
                continue
            if not self.reason(trial, trials):
                return trial
            below.add(group)
        return None

    def finalist(self, trials: Sequence[TrialProgress]) -> TrialProgress | None:
        """The paused trial to train to its end first, above its bar or not."""

        def final_priority(trial: TrialProgress) -> tuple[int, float]:
            comparable = self._comparable(trial, trials)
            return self._level(trial), -_rank(trial, comparable) / max(1, len(comparable))

        return max(_paused(trials), key=final_priority, default=None)

    def _level(self, progress: TrialProgress) -> int:
        """How many rungs it has reached."""
        return _place(self.rungs(progress.epochs, progress.cycle), len(progress.best))[1]

    def _priority(self, progress: TrialProgress) -> tuple[bool, int, float]:
        rungs = self.rungs(progress.epochs, progress.cycle)
        return *_place(rungs, len(progress.best)), progress.best[-1] if progress.best else 0.0

    def _comparable(
        self, progress: TrialProgress, trials: Sequence[TrialProgress]
    ) -> list[tuple[TrialProgress, float]]:
        """The trials that ``progress`` is compared with, itself included, with their scores."""
        epoch, dues = len(progress.best), dict[tuple[int, int], int]()
        comparable = []
        for other in trials:
            kind = other.epochs, other.cycle
            if kind not in dues:
                dues[kind] = self._due(progress, *kind)
            reached = len(other.best)
            if reached >= dues[kind] > 0 and other.state != TrialState.FAILED:
                comparable.append((other, other.best[min(epoch, reached) - 1]))
        return comparable

    def _due(self, progress: TrialProgress, epochs: int, cycle: int) -> int:
        """The epoch that a trial of so many must have reached to be compared; 0: it never is."""
        shorter, longer = sorted((epochs, progress.epochs))
        if longer > ALIKE * shorter:
            return 0
        epoch, level, rungs = len(progress.best), self._level(progress), self.rungs(epochs, cycle)
        return min(epoch, rungs[level - 1]) if 0 < level <= len(rungs) else epoch


def smoothed_best(dice: Sequence[float]) -> tuple[float, ...]:
    """A trial's score after each finished epoch: the mean Dice of the best fifth of its epochs.

    A single best epoch is partly luck: among many noisy trials, the one with the highest Dice of
    any epoch is rarely the best (benchmarks/search_efficiency.py). Until the ninth epoch the best
    fifth is one epoch.
    """
    return tuple(smoothed_score(dice[:epochs]) for epochs in range(1, len(dice) + 1))


def smoothed_score(dice: Sequence[float]) -> float:
    """The last of these scores."""
    best = sorted(dice, reverse=True)[: max(1, len(dice) // 5)]
    return sum(best) / len(best)


@lru_cache(maxsize=4096)
def _rungs(grace: int, reduction: int, epochs: int, cycle: int) -> tuple[int, ...]:
    rungs: list[int] = []
    rung = grace
    while rung <= LAST_RUNG * epochs:
        end = -(-rung // cycle) * cycle if cycle else rung
        if end <= LAST_RUNG * epochs and end not in rungs:
            rungs.append(end)
        rung *= reduction
    return tuple(rungs)


@lru_cache(maxsize=4096)
def _place(rungs: tuple[int, ...], epoch: int) -> tuple[bool, int]:
    """Whether an epoch is between rungs, and how many rungs are reached by then."""
    return epoch not in rungs, sum(rung <= epoch for rung in rungs)


def _paused(trials: Iterable[TrialProgress]) -> list[TrialProgress]:
    return [trial for trial in trials if trial.state == TrialState.PAUSED]


def _rank(progress: TrialProgress, comparable: Sequence[tuple[TrialProgress, float]]) -> int:
    """How many are better; of equal trials, the one that was started earlier is better."""
    name = progress.trial
    place = next((i for i, (trial, _) in enumerate(comparable) if trial.trial == name), None)
    if place is None:
        return len(comparable)
    score = comparable[place][1]
    return sum(s > score or (s == score and i < place) for i, (_, s) in enumerate(comparable))


def _range(lengths: Sequence[int]) -> str:
    shortest, longest = min(lengths), max(lengths)
    return f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
