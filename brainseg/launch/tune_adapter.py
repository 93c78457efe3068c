"""Ray Tune's interfaces to the search: which trial runs next, and what a result changes.

Tune ends a trial early by killing its process, and that leaks what Ray Train started beneath it.
So here a trial looks into its folder before each epoch and returns by itself, to pause or to stop.
A trial that is resumed is a new one to Tune, and has the same name to us; so is one whose processes
died, since Tune itself would start it again at once, whether there is memory for it or not.
"""

from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from brainseg.records.rows import EpochRow
from brainseg.search.driver import SearchDriver


class SweepSearcher(Searcher):
    """Tune's searcher: passes on the name of the trial that the driver wants trained next."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__(metric="best_dice", mode="max")
        self.driver = driver
        self._active: set[str] = set()  # Tune's ids of trials that have not returned

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config; None if there is none yet, FINISHED if none will follow."""
        if not self.driver.has_room(len(self._active)):
            return None
        if name := self.driver.next():
            self._active.add(trial_id)
            return {"trial": name}
        return None if self.driver.may_continue() else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Left to the EpochListener, which Tune asks before the trial continues."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """What it means is left to the recorder, which records an end before Optuna gets it."""
        self._active.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; all there is to know is in the run's own records."""
        with open(checkpoint_path, "w") as file:
            file.write("see study.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to do: a driver that starts again reads the records."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; a study is opened, not copied


class EpochListener(FIFOScheduler):
    """Tune's scheduler: reports each epoch to the driver before the trial continues."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self.driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "epoch" in result:
            self.driver.on_epoch(trial.config["trial"], EpochRow.from_json(result))
        return str(FIFOScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class NoProgressLines(TrialProgressCallback):
    """In place of Tune's own, which prints that some trials end, whatever it is told."""

    def _print(self, msg: str) -> None:
        """Nothing: the recorder says it."""
