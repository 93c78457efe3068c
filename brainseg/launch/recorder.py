"""What happens to a trial, as Tune reports it: noted, passed to the driver and W&B, logged."""

from collections.abc import Callable
from typing import Any

from ray import tune

from brainseg.cluster.reachability import last_line
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.launch.ending import error_of
from brainseg.process import Log
from brainseg.records.rows import EpochRow
from brainseg.records.trial_folder import Ending
from brainseg.records.trial_state import TrialState
from brainseg.search.driver import SearchDriver
from brainseg.tracking.mirror import Mirror
from brainseg.training import checkpoint


class Recorder(tune.Callback):
    """Passes each change of a trial's state to the driver and to W&B; logs one line an epoch."""

    def __init__(
        self, driver: SearchDriver, mirror: Mirror, why_ended: Callable[[str], str], log: Log
    ) -> None:
        self.driver, self.run, self.mirror, self.log = driver, driver.run, mirror, log
        self.why_ended = why_ended  # a trial's processes, "" if they died by themselves
        self._epochs: dict[str, int] = {}  # that trials have finished
        self._logged: dict[str, int] = {}  # notes of each trial that are logged

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        params = self.run.trial(name).params()
        words = configuration_name(build(TrialConfig(), params))
        rows = self.run.trial(name).rows()
        self._logged[name] = len(self.run.trial(name).notes())
        self.run.note(name, TrialState.RUNNING, configuration=words, params=params)
        verb = f"resumes after epoch {rows[-1].epoch}" if rows else "starts"
        self.log(f"[{name}] {verb}: {words}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" not in result:
            return
        name, row = trial.config["trial"], EpochRow.from_json(result)
        if row.epoch > self._epochs.get(name, 0):
            self._epochs[name] = row.epoch
            trial.run_metadata.num_failures = 0  # Tune itself never forgets one: see RETRIES
        self._log_notes(name)
        self.mirror.follow(name)
        self.log(
            f"[{name}] epoch {row.epoch}/{self.driver.scheduler.trials[name].epochs}  "
            f"loss {row.train_loss:.3f}  dice {row.dice:.3f}  "
            f"best {row.best_dice:.3f}  {row.seconds:.1f} s"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        died = f"its processes died at every attempt: {_cause(trial)}"
        self._end(trial, crash=self.why_ended(trial.config["trial"]) or died)

    def _log_notes(self, name: str) -> None:
        """Log what its process found wrong with the trial's files, each once."""
        notes = self.run.trial(name).notes()
        for note in notes[self._logged.get(name, 0) :]:
            self.log(f"[{name}] {note}")
        self._logged[name] = len(notes)

    def _end(self, trial: Any, crash: str = "") -> None:
        name = trial.config["trial"]
        self._log_notes(name)
        ending = self.driver.on_return(name, crash)
        if ending.state == TrialState.PAUSED:
            checkpoint.keep_newest(self.run.trial(name).path)
            reason = self.driver.scheduler.pause_reasons()[name]
            self.log(f"[{name}] {reason or 'paused'}")
        else:
            self._close(name, ending)

    def stop_paused(self, why: str) -> None:
        """The search has ended: stop for good what is still paused."""
        for name, ending in self.driver.stop_paused(why):
            self._close(name, ending)

    def _close(self, name: str, ending: Ending) -> None:
        if ending.state != TrialState.FAILED:  # it may be tried again
            checkpoint.drop_latest(self.run.trial(name).path)
        self.mirror.follow(name)
        ended = f"{self.run.count_ended()} of {self.driver.num_trials} trials ended"
        score = "no score" if ending.dice is None else f"best dice {ending.dice:.3f}"
        reason = f" ({ending.reason})" if ending.reason else ""
        self.log(f"[{name}] {ending.state}: {score}{reason}; {ended}")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; each driver makes a new one


def _cause(trial: Any) -> str:
    """What a trial of Tune died of."""
    error = error_of(trial)
    return last_line(error) if error else "Ray gave no reason"
