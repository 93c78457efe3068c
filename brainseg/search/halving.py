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
                                   pause where standings.reason(trial) is not empty
    when a place is free       standings.promotable(), else a new trial
    when a new trial could not end within the budget
                               standings.finalist(), to be run to its end without a pause

Source: Li et al. (2020), "A system for massively parallel hyperparameter tuning", algorithm 2.
"""

from collections.abc import Sequence
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
