"""How far each trial of a run has trained, and which paused trial resumes next.

All of it can be read from the records again: a new driver decides as the old one would have.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import ExpRange, TrialConfig, Triangular, Triangular2
from brainseg.config.schema import build
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.halving import Halving, TrialProgress, smoothed_best, smoothed_score
from brainseg.search.multi_objective import ObjectiveCosts
from brainseg.search.observations import Observation
from brainseg.search.standings import Standings
from brainseg.search.warm_start import PreviousTrial

FINALISTS = 3  # so many trials or more reach their last epoch, if as many were started


class TrialScheduler:
    """The trials of a run; where there are no rungs, none of them ever pauses."""

    def __init__(
        self, run: Run, halving: Halving | None, previous: Sequence[PreviousTrial] = ()
    ) -> None:
        self.run, self.halving, self.previous = run, halving, previous
        self.trials: dict[str, TrialProgress] = {}
        self._standings = Standings(halving) if halving else None
        self._running: dict[str, None] = {}  # a set in the order of their starts
        self._whole: set[str] = set()  # trained to their last epoch
        self._params: dict[str, Params] = {}
        self._dice: dict[str, list[float]] = {}
        self._seconds: dict[str, float] = {}
        # What each trial shows the search, None if it failed; and those that changed since.
        self._observed: dict[str, tuple[Observation, ObjectiveCosts] | None] = {}
        self._changed: dict[str, None] = {}
        for record in run.trials():
            self._read(record)

    def _read(self, record: TrialRecord) -> None:
        self.add(record.trial, record.params)
        self._read_rows(record.trial)
        folder = self.run.trial(record.trial)
        state = folder.state(record.state)
        self._set(record.trial, state)
        if state == TrialState.PAUSED != record.state:  # and then the driver died
            self.run.note(record.trial, state)
        elif state == TrialState.FAILED != record.state:  # likewise
            self.run.note(record.trial, state, **folder.ending().changes())

    def add(self, name: str, params: Params) -> None:
        """A trial was proposed; it has not started yet."""
        config = build(TrialConfig(), params)
        self._params[name] = params
        self._put(TrialProgress(trial=name, epochs=config.epochs, cycle=_cycle(config)))

    def start(self, name: str, *, to_the_end: bool = False) -> None:
        """The trial trains from now on, until its next pause or to its last epoch."""
        self._set(name, TrialState.RUNNING)
        progress, folder = self.trials[name], self.run.trial(name)
        if to_the_end:
            folder.pause_after(progress.epochs)
        elif self.halving and (folder.pause_epoch or 0) <= len(progress.best):
            folder.pause_after(self.halving.next_pause(progress))

    def on_epoch(self, name: str, epoch: int, dice: float, seconds: float) -> None:
        """Another epoch is finished; a trial above its bar continues without a pause."""
        if epoch > len(self.trials[name].best) + 1:
            self._read_rows(name)
        self._note(name, epoch, dice, seconds)
        if self.halving and self._at_its_pause(name) and not self.pause_reason(name):
            self.run.trial(name).pause_after(self.halving.next_pause(self.trials[name]))

    def pause(self, name: str) -> None:
        """The trial has paused; rows that a dying process wrote but never reported count too."""
        self._read_rows(name)
        self._set(name, TrialState.PAUSED)

    def retry(self, name: str) -> None:
        """A failed trial is to be tried again."""
        self._set(name, TrialState.RUNNING)

    def _read_rows(self, name: str) -> None:
        """Take note of every epoch that the trial has finished, reported by its process or not."""
        rows = {row.epoch: row for row in self.run.trial(name).rows()}
        if rows:
            dice = [row.dice for row in rows.values()]
            self._show(name, dice, smoothed_best(dice), [*rows.values()][-1].device_seconds)

    def finish(self, name: str, state: TrialState) -> None:
        """The trial has ended; ``state`` is one of ``ENDED``."""
        self._set(name, state)

    def promotable(self) -> str | None:
        """The paused trial to resume next, if one is above its bar."""
        return self._standings.promotable() if self._standings else None

    def finalist(self) -> str | None:
        """The best paused trial, if too few trials are on their way to their last epoch."""
        return self._standings.finalist() if self._standings and self.lacking() else None

    def pause_reason(self, name: str) -> str:
        """Why the trial is paused."""
        assert self._standings
        return self._standings.reason(name)

    def pause_reasons(self) -> dict[str, str]:
        """Each paused trial with the reason why it is paused."""
        paused = [name for name, p in self.trials.items() if p.state == TrialState.PAUSED]
        return {name: self.pause_reason(name) for name in paused}

    def running(self) -> int:
        """How many trials train, or wait for the room to train on."""
        return len(self._running)

    def observations(self, objectives: Sequence[str]) -> list[tuple[Observation, ObjectiveCosts]]:
        """What the search learns from, in the order of their start: all trials but failed ones."""
        for name in self._changed:
            progress, folder = self.trials[name], self.run.trial(name)
            failed = progress.state == TrialState.FAILED
            costs = {} if failed else folder.expected_costs(objectives[1:], progress.epochs)
            self._observed[name] = None if failed else (self._observation(progress), costs)
        self._changed.clear()
        before = [(trial.observation, trial.costs) for trial in self.previous]
        return before + [shown for shown in self._observed.values() if shown]

    def trial_seconds(self) -> float:
        """Device-seconds of a whole training, the median over trials; 0 before the first epoch."""
        seconds = [s * self.trials[name].epochs for name, s in self._seconds.items()]
        return median(seconds) if seconds else 0.0

    def reserved(self) -> float:
        """Device-seconds that finalists still need, those on their way and those to be chosen."""
        on_their_way = sum(
            (self.trials[name].epochs - len(self.trials[name].best)) * self._seconds.get(name, 0.0)
            for name in self._on_their_way()
        )
        return on_their_way + self.lacking() * self.trial_seconds()

    def lacking(self) -> int:
        """How many finalists are still to be chosen."""
        if not self.halving:
            return 0
        return max(0, FINALISTS - len(self._whole) - len(self._on_their_way()))

    def _on_their_way(self) -> list[str]:
        """The running trials that will not pause before their last epoch."""
        return [
            name
            for name in self._running
            if self.run.trial(name).pause_epoch in (None, self.trials[name].epochs)
        ]

    def _observation(self, progress: TrialProgress) -> Observation:
        return Observation(
            params=self._params[progress.trial],
            epochs=progress.epochs,
            best=progress.best,
            seconds=self._seconds.get(progress.trial, 0.0),
            running=progress.state == TrialState.RUNNING,
        )

    def _note(self, name: str, epoch: int, dice: float, seconds: float) -> None:
        """An epoch that a process repeats, since it died before its checkpoint, counts once."""
        scores = [*self._dice.get(name, [])[: epoch - 1], dice]
        best = self.trials[name].best[: len(scores) - 1]
        self._show(name, scores, (*best, smoothed_score(scores)), seconds)

    def _show(self, name: str, dice: list[float], best: tuple[float, ...], seconds: float) -> None:
        """What the trial's epochs so far are: their Dice, the scores after each, seconds of one."""
        self._dice[name], self._seconds[name] = dice, seconds
        self._put(replace(self.trials[name], best=best))

    def _set(self, name: str, state: TrialState) -> None:
        self._put(replace(self.trials[name], state=state))

    def _put(self, progress: TrialProgress) -> None:
        """Every change of a trial comes through here."""
        name = progress.trial
        self.trials[name] = progress
        self._changed.setdefault(name)
        if self._standings:
            self._standings.put(progress)
        if progress.state == TrialState.RUNNING:
            self._running.setdefault(name)
        else:
            self._running.pop(name, None)
        if progress.state == TrialState.DONE and len(progress.best) == progress.epochs:
            self._whole.add(name)

    def _at_its_pause(self, name: str) -> bool:
        progress = self.trials[name]
        return len(progress.best) == self.run.trial(name).pause_epoch != progress.epochs


def _cycle(config: TrialConfig) -> int:
    """Epochs of a cycle of the learning rate; 0 where there is none."""
    schedule = config.schedule
    return schedule.cycle_epochs if isinstance(schedule, Triangular | Triangular2 | ExpRange) else 0
