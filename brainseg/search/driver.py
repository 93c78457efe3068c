"""What a sweep's driver decides: which trial trains next, what a new epoch changes, when to end.

It knows nothing of Ray: launch/tune_adapter.py asks it, and launch/recorder.py reports to it.
"""

from collections.abc import Callable, Iterator
from math import inf

from brainseg.config.sweep import Points
from brainseg.records.files import write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_folder import Ending
from brainseg.records.trial_state import TrialState
from brainseg.search.budget import BudgetTracker
from brainseg.search.rounds import Judge, Rounds
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study


class SearchDriver:
    """Trains first what a killed driver left, then paused trials above their bar, then new ones."""

    def __init__(
        self,
        run: Run,
        study: Study,
        scheduler: TrialScheduler,
        budget_tracker: BudgetTracker,
        *,
        num_trials: int,
        slots: Callable[[], int],
        workers: int = 1,
        judge: Judge | None = None,
        retry: Callable[[TrialRecord], str] = lambda record: "",
    ) -> None:
        """
        Args:
            slots: how many trials there is room for now.
            workers: of one trial.
            judge: who leaves a race; None where all are trained.
            retry: why a trial that failed is to be tried again; "" if it is not.
        """
        self.run, self.study = run, study
        self.scheduler, self.budget_tracker = scheduler, budget_tracker
        self.workers, self.slots = workers, slots
        self._num_trials, self._rounds = num_trials, None
        self._most = 0  # trials at once, where their machine lacks memory for more; 0: no limit
        self.ended = ""  # why no further trial starts
        unfinished = study.unfinished()
        for name in unfinished:
            if name not in scheduler.trials:  # proposed, but never started
                scheduler.add(name, study.params(name))
        self.retried: dict[str, str] = {}  # failed trials that are tried again, and why
        self._to_resume = unfinished + list(self._retried(retry))
        if judge:
            self._rounds = Rounds(run, study.sweep, study.seeds_begun(), judge)
            study.queue(self._rounds.due())
        elif isinstance(study.sweep.strategy, Points):
            study.queue(study.sweep.points())  # those of seeds that were added

    @property
    def num_trials(self) -> int:
        """How many trials there will be; in a race at most, fewer with each that leaves it."""
        return len(self._rounds.points) if self._rounds else self._num_trials

    @property
    def up_to(self) -> str:
        """Whether there may be fewer."""
        return "up to " * bool(self._rounds and self._rounds.may_shrink())

    def _retried(self, retry: Callable[[TrialRecord], str]) -> Iterator[str]:
        """Let failed trials train again, each once in a driver's life, while the budget lasts."""
        if self.budget_tracker.spent():
            return
        for record in self.run.trials():
            if record.state == TrialState.FAILED and (why := retry(record)):
                self.study.reopen(record.trial)
                self.run.trial(record.trial).reopen()
                again = {"retry": f"{why}; it had failed: {record.reason}", "reason": ""}
                self.run.note(record.trial, TrialState.RUNNING, **again)
                self.scheduler.retry(record.trial)
                self.retried[record.trial] = again["retry"]
                yield record.trial

    def is_over(self) -> bool:
        """Whether there is nothing to do from the start; ``ended`` says why."""
        if self._to_resume:
            return False
        spent = self.budget_tracker.spent()
        if not spent and (self.scheduler.promotable() or self.scheduler.finalist()):
            return False
        self.ended = spent or self._no_new_trial()
        return bool(self.ended)

    def has_room(self, active: int) -> bool:
        """Whether another trial may start beside those that are ``active``."""
        return active < self._places()

    def limit(self, most: int) -> None:
        """From now on so many trials at once and no more: their machine lacks memory."""
        self._most = min(most, self._most or most)

    def resume(self, name: str) -> None:
        """The processes of a running trial died: train it on as soon as there is room."""
        self._to_resume.insert(0, name)

    def may_continue(self) -> bool:
        """Whether a trial may become ready later: one that runs may have to be resumed."""
        return self.scheduler.running() > 0

    def next(self) -> str | None:
        """The trial to train next; None if there is none, for now or for good."""
        if self.ended and not self._to_resume:
            return None
        name = self._to_resume.pop(0) if self._to_resume else None
        if not name and (spent := self.budget_tracker.spent()):
            self.ended = spent
            return None
        if not name and self._finalists_need_the_rest():
            if finalist := self.scheduler.finalist():
                self.scheduler.start(finalist, to_the_end=True)
            if finalist or self.scheduler.running():
                return finalist
        if name := name or self.scheduler.promotable():
            self.scheduler.start(name)
            return name
        reason = self._no_new_trial()
        if reason and (name := self.scheduler.finalist()):
            self.scheduler.start(name, to_the_end=True)
        elif not reason and self._may_begin():
            name = self._new()
            self.scheduler.start(name)
        elif reason and not self.scheduler.running():
            self.ended = reason
        return name

    def on_epoch(self, name: str, row: EpochRow) -> None:
        """A trial finished an epoch: let it pass its rung, or stop it where the budget is spent.

        Takes effect before the trial's next epoch: whoever trains it looks into its folder.
        """
        self.study.observe(name, row)
        self.scheduler.on_epoch(name, row.epoch, row.dice, row.device_seconds)
        self.budget_tracker.update(name)
        folder, spent = self.run.trial(name), self.budget_tracker.spent()
        is_last = row.epoch == self.scheduler.trials[name].epochs
        if spent and not is_last and not folder.stop.exists():
            write_text(folder.stop, spent)

    def on_return(self, name: str, crash: str = "") -> Ending:
        """A trial's processes ended. Its folder shows whether it paused or is finished.

        Args:
            crash: why its processes died, if no retry is left.
        """
        ending = self.run.trial(name).ending(crash)
        if ending.state == TrialState.PAUSED:
            self.run.note(name, TrialState.PAUSED, **ending.changes())
            self.scheduler.pause(name)
            self.study.report_epochs(name)
        else:
            self._finish(name, ending)
        return ending

    def stop_paused(self, why: str) -> Iterator[tuple[str, Ending]]:
        """The search has ended: stop for good what is still paused, one trial after the other."""
        for name, reason in self.scheduler.pause_reasons().items():
            write_text(self.run.trial(name).stop, f"{reason}; {why}" if reason else why)
            ending = self.run.trial(name).ending()
            self._finish(name, ending)
            yield name, ending

    def _finish(self, name: str, ending: Ending) -> None:
        self.scheduler.finish(name, ending.state)
        self.run.note(name, ending.state, **ending.changes())
        self.study.report_end(name)  # recorded first: see Study.unfinished

    def _no_new_trial(self) -> str:
        """Why no new trial is proposed; "" if one is."""
        proposed = len(self.scheduler.trials)
        if proposed >= self.num_trials:
            left = self._rounds.sentence() if self._rounds else ""
            return f"all {proposed} trials were tried{left and '; '}{left}"
        return self.budget_tracker.stalled() or self._exhausted()

    def _may_begin(self) -> bool:
        """Whether a new trial may begin now: in a race a seed waits until those before it ended."""
        if not self._rounds or self.study.has_queued():
            return True
        if self.scheduler.running():
            return False
        self.study.queue(self._rounds.next())
        return True

    def _finalists_need_the_rest(self) -> bool:
        """Whether what is left of the budget is just enough to finish the best trials so far."""
        left = self.budget_tracker.seconds_left(self._places() * self.workers)
        return left < inf and left < self.scheduler.reserved()

    def _places(self) -> int:
        """How many trials may train at once."""
        return min(self.slots(), self._most or self.slots())

    def _exhausted(self) -> str:
        if not self.budget_tracker.budget.terminator:
            return ""
        return self.study.exhausted(self.budget_tracker.noise())

    def _new(self) -> str:
        name = self.study.ask(self.scheduler.observations(self.study.sweep.objectives))
        self.scheduler.add(name, self.study.params(name))
        return name
