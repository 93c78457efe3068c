"""A sweep whose trials find no room says what is short, and after a bounded wait ends."""

import signal
import time
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from brainseg.begin import Say
from brainseg.records import Run
from brainseg.vacancies import SAY_SECONDS, Vacancies


class Waiting(tune.Callback):
    """Looks whether any trial is in training; Ray by itself would wait for ever, and say nothing.

    A trial of several workers runs, as Tune sees it, while its workers still wait for room; that
    they have begun shows in the trial's folder.
    """

    def __init__(self, run: Run, vacancies: Vacancies, *, minutes: float, say: Say) -> None:
        self.run, self.vacancies, self.say = run, vacancies, say
        self.seconds = 60 * minutes
        self.ended = ""  # why the sweep was ended, if it was
        self._begun_before: dict[str, int] = {}  # how often each trial's workers had begun
        self._since: float | None = None
        self._said = 0.0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        self._begun_before.setdefault(trial.trial_id, len(self.run.trial(name).begins()))

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        room = self.vacancies.at_once()
        now = time.monotonic()
        if self.ended or (room and not trials) or any(self._trains(trial) for trial in trials):
            self._since = None
            return
        if self._since is None:
            self._since, self._said = now, now
        waited = now - self._since
        if waited >= self.seconds:
            self.ended = (
                f"no trial found room for {self.seconds / 60:g} min: {self.vacancies.shortage()}; "
                "the same command again goes on, --wait MINUTES waits longer"
            )
            signal.raise_signal(signal.SIGINT)  # Tune ends in good order
        elif now >= self._said + SAY_SECONDS:
            self._said = now
            self.say(f"waits for room since {waited / 60:.0f} min: {self.vacancies.shortage()}")

    def _trains(self, trial: Any) -> bool:
        if trial.status != Trial.RUNNING:
            return False
        if self.vacancies.placement.workers == 1 or trial.trial_id not in self._begun_before:
            return True
        begun = len(self.run.trial(trial.config["trial"]).begins())
        return begun > self._begun_before[trial.trial_id]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one is made anew by each driver
