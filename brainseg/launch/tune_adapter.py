"""Ray Tune's two seams: which trial is next, new or taken up again, and what a result changes.

Tune's own way to end a trial early, killing its process, leaks what Ray Train started beneath it.
Here a trial looks into its folder before each epoch and returns by itself, to pause or to stop; one
that is taken up again is a new trial to Tune, of the same name to us.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from brainseg.records.files import write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.search.budget import BudgetTracker
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study


class Suggestions(Searcher):
    """What is next: what a killed driver left, a trial that has earned it, a new one, an end."""

    def __init__(
        self,
        study: Study,
        scheduler: TrialScheduler,
        budget_tracker: BudgetTracker,
        *,
        trials: int,
        at_once: Callable[[], int],
        workers: int = 1,
    ) -> None:
        super().__init__(metric="best_dice", mode="max")
        self.study, self.scheduler, self.budget_tracker = study, scheduler, budget_tracker
        self.trials, self.workers = trials, workers  # trials in all; workers of one
        self.at_once = at_once  # trials that there is room for by now
        self.ended = ""  # why nothing more is begun
        left = study.unfinished()
        for name in left:
            if name not in scheduler.trials:  # asked for, and never begun
                scheduler.add(name, study.params(name))
        self._live: set[str] = set()  # trials of Tune that have not returned
        self._left = [name for name in left if scheduler.trials[name].state == "running"]

    def is_over(self) -> bool:
        """Whether there is nothing to do from the start; ``ended`` says why."""
        if self._left:
            return False
        spent = self.budget_tracker.spent()
        if not spent and (self.scheduler.promotable() or self.scheduler.finalist()):
            return False
        self.ended = spent or self._enough()
        return bool(self.ended)

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, or Tune's words for none and for none yet."""
        if not self.ended and len(self._live) >= self.at_once():
            return None
        name = self.next()
        if name:
            self._live.add(trial_id)
            return {"trial": name}
        return None if self.scheduler.running() and not self.ended else Searcher.FINISHED

    def next(self) -> str | None:
        """The trial to be trained next; None where there is none, for now or for good."""
        if self.ended:
            return None
        name = self._left.pop(0) if self._left else None
        if not name and (spent := self.budget_tracker.spent()):
            self.ended = spent
            return None
        if not name and self._must_save():
            if finalist := self.scheduler.finalist():
                self.scheduler.start(finalist, to_the_end=True)
            if finalist or self.scheduler.running():
                return finalist
        if name := name or self.scheduler.promotable():
            self.scheduler.start(name)
            return name
        enough = self._enough()
        if enough and (name := self.scheduler.finalist()):
            self.scheduler.start(name, to_the_end=True)
        elif not enough:
            name = self._new()
            self.scheduler.start(name)
        elif not self.scheduler.running():
            self.ended = enough
        return name

    def _enough(self) -> str:
        """Why no new trial is begun, or nothing."""
        begun = len(self.scheduler.trials)
        if begun >= self.trials:
            return f"all {begun} trials were tried"
        return self.budget_tracker.stalled() or self._exhausted()

    def _must_save(self) -> bool:
        """Whether what is left of the budget is due to the best trials so far."""
        return self.budget_tracker.nearly_spent(
            self.scheduler.reserved(), self.at_once() * self.workers
        )

    def _exhausted(self) -> str:
        if not self.budget_tracker.budget.terminator:
            return ""
        return self.study.exhausted(self.budget_tracker.noise())

    def _new(self) -> str:
        name = self.study.ask(self.scheduler.observations(self.study.sweep.objectives))
        self.scheduler.add(name, self.study.params(name))
        return name

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Heard by the other seam, which Tune lets decide."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What it means is left to the recorder, which notes an end before it is told."""
        self._live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; all there is to know is in the run's own records."""
        with open(checkpoint_path, "w") as file:
            file.write("see study.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to do: a driver that starts again reads the records."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; a study is opened, not copied


class Referee(FIFOScheduler):
    """Hears each result before the trial goes on: it may pass its rung, or must stop for good."""

    def __init__(
        self, run: Run, study: Study, scheduler: TrialScheduler, budget_tracker: BudgetTracker
    ) -> None:
        super().__init__()
        self.run, self.study, self.scheduler, self.budget_tracker = (
            run,
            study,
            scheduler,
            budget_tracker,
        )

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "epoch" in result:
            name, row = trial.config["trial"], EpochRow.from_json(result)
            self.study.observe(name, row.epoch, row.dice)
            self.scheduler.on_epoch(name, row.epoch, row.dice, row.device_seconds)
            self.budget_tracker.update(name)
            folder, spent = self.run.trial(name), self.budget_tracker.spent()
            is_last = row.epoch == self.scheduler.trials[name].epochs
            if spent and not is_last and not folder.stop.exists():
                write_text(folder.stop, spent)
        return str(FIFOScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}
