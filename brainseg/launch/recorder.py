"""What happens to a trial, as Tune reports it: noted, passed to the driver and W&B, logged."""

import time
from collections.abc import Callable
from math import isnan
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from brainseg.cluster.capacity import LOOK_SECONDS
from brainseg.cluster.liveness import process_gone, why_gone
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.launch.deaths import INFEASIBLE_RAM, Cause, KernelKills, death_of
from brainseg.launch.job import RayGone
from brainseg.process import Log
from brainseg.records.checkpoint_index import newest_epoch
from brainseg.records.rows import EpochRow
from brainseg.records.storage import MachineFault
from brainseg.records.trial_folder import Ending
from brainseg.records.trial_state import TrialState
from brainseg.search.driver import SearchDriver
from brainseg.tracking.mirror import Mirror
from brainseg.training.keeping import checkpoint

RETRIES = 2  # of a trial whose processes died without another checkpoint


class Abandoned(BaseException):
    """Ends Tune without its cleanup, which waits for a Ray that has died until Ray ends us too."""


class Recorder(tune.Callback):
    """Passes each change of a trial's state to the driver and to W&B; logs one line an epoch."""

    def __init__(
        self, driver: SearchDriver, mirror: Mirror, why_ended: Callable[[str], str], log: Log
    ) -> None:
        self.driver, self.run, self.mirror, self.log = driver, driver.run, mirror, log
        self.why_ended = why_ended  # a trial's processes, "" if they died by themselves
        self._kept: dict[str, int] = {}  # the epoch of trials' checkpoints when they last died
        self._deaths: dict[str, int] = {}  # of each trial without a newer one, by its own fault
        self._again: dict[str, str] = {}  # why trials start again, where they do
        self._kills, self._looked = KernelKills(), -LOOK_SECONDS
        self.fault: MachineFault | None = None  # that ended Tune, which hides what callbacks raise
        self._logged: dict[str, int] = {}  # notes of each trial that are logged
        self._is_measuring = False  # a trial, in which precision all of them will compute

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        kept = newest_epoch(self.run.trial(name).path)
        self._logged[name] = len(self.run.trial(name).notes())
        params = self.run.trial(name).params()
        words = self._note_start(name, params)
        verb = f"resumes after epoch {kept}" if kept else "starts"
        again = self._again.pop(name, "") or self.driver.retried.pop(name, "")
        self.log(f"[{name}] {verb}: {again or words}")
        is_auto = params.get("precision") == "auto"
        if is_auto and not self._is_measuring and not self.run.precision():
            self._is_measuring = True
            self.log(
                f"[{name}] finds out which precision is fastest here, unless an earlier run did"
            )

    def _note_start(self, name: str, params: dict[str, Any]) -> str:
        """Note that the trial trains; returns its configuration's name."""
        words = configuration_name(build(TrialConfig(), params))
        self.run.note(name, TrialState.RUNNING, configuration=words, params=params)
        return words

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._require_ray(process_gone())  # at each step: what asks a dead GCS does not return
        now = time.monotonic()
        if now >= self._looked + LOOK_SECONDS:
            self._looked = now
            self._require_ray(why_gone())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" not in result:
            return
        name, row = trial.config["trial"], EpochRow.from_json(result)
        self._log_notes(name)
        if self._is_measuring and (precision := self.run.precision()):
            self._is_measuring = False
            self.log(f"all trials compute in {precision}, see compute.json and brainseg doctor")
        self.mirror.follow(name)
        # Nobody validates a refit.
        scores = "" if isnan(row.dice) else f"dice {row.dice:.3f}  best {row.best_dice:.3f}  "
        self.log(
            f"[{name}] epoch {row.epoch}/{self.driver.scheduler.trials[name].epochs}  "
            f"loss {row.train_loss:.3f}  {scores}{row.seconds:.1f} s"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its processes died: train it on, unless they die again and again by its own fault."""
        name, death = trial.config["trial"], death_of(trial, self._kills)
        if death.cause == Cause.STORAGE:
            self.fault = MachineFault(death.words)
            raise self.fault
        if death.cause == Cause.NODE:
            self._require_ray(why_gone())
        active = (Trial.RUNNING, Trial.PENDING)  # the latter starts: it has room already
        others = sum(other.status in active for other in trials if other is not trial)
        if death.cause == Cause.MEMORY and others:
            self.driver.limit(others)
            self.log(f"[{name}] {death.words}; from now on at most {others} trial(s) at once")
        elif death.cause != Cause.NODE:
            self._count_death(name)
        if self._deaths.get(name, 0) <= RETRIES:
            self._again[name] = self.why_ended(name) or death.words
            self.driver.resume(name)
            return
        if all(record.trial != name for record in self.run.trials()):
            # They died before Tune called it started.
            self._note_start(name, self.run.trial(name).params())
        died = f"its processes died at every attempt: {death.words}"
        if death.cause == Cause.MEMORY:
            died = f"{INFEASIBLE_RAM}, even alone: {death.words}"
        self._end(trial, crash=self.why_ended(name) or died)

    def _count_death(self, name: str) -> None:
        """An epoch that no checkpoint holds is no progress: it would be trained for ever."""
        kept = newest_epoch(self.run.trial(name).path)
        before = self._deaths.get(name, 0) if kept <= self._kept.get(name, 0) else 0
        self._kept[name], self._deaths[name] = kept, before + 1

    def _require_ray(self, why_gone: str) -> None:
        if why_gone:
            self.fault = RayGone(why_gone)
            raise Abandoned

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
            reason = self.driver.scheduler.pause_reason(name)
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
        most = f"{self.driver.up_to}{self.driver.num_trials}"
        ended = f"{self.run.count_ended()} of {most} trials ended"
        score = "no score" if ending.dice is None else f"best dice {ending.dice:.3f}"
        if ending.dice is None and ending.state == TrialState.DONE:  # a refit
            score = f"trained to its last epoch, {ending.epoch}"
        reason = f" ({ending.reason})" if ending.reason else ""
        self.log(f"[{name}] {ending.state}: {score}{reason}; {ended}")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; each driver makes a new one
