"""A sweep whose trials find no room says what is short, and after a bounded wait ends."""

import signal
import time
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from brainseg.cluster.capacity import LOOK_SECONDS, SAY_SECONDS, Vacancies
from brainseg.cluster.placement_groups import Demands
from brainseg.data.dataset import Say
from brainseg.process import in_main_thread


class Interrupted(Exception):
    """Ends Tune in a thread where it hears no signal."""


class Waiting(tune.Callback):
    """Looks whether any trial has its workers; Ray by itself would wait for ever, and say nothing.

    A trial of several workers runs, as Tune sees it, while its workers still wait for room.
    """

    def __init__(self, vacancies: Vacancies, demands: Demands, *, minutes: float, say: Say) -> None:
        self.vacancies, self.demands, self.say = vacancies, demands, say
        self.seconds = max(60 * minutes, 2 * LOOK_SECONDS)  # one look may fall on an instant
        self.ended = ""  # why the sweep was ended, if it was
        self._since: float | None = None
        self._said, self._looked = 0.0, -LOOK_SECONDS

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._since = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if self.ended or now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        if self.vacancies.fault:
            self._end(f"{self.vacancies.fault}; mend it, and the same command again goes on")
        elif not self._all_wait(trials):
            self._since = None
        elif self._since is None:
            self._since, self._said = now, now
        else:
            self._go_on_waiting(now, now - self._since)

    def _all_wait(self, trials: list[Any]) -> bool:
        """Whether the cluster owes every trial its workers; where it owes none, they are starting.

        One worker is asked for by Tune before its trial runs, several by a trial that runs.
        """
        waiting = self.demands.unmet(self.vacancies.placement)
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        together = self.vacancies.placement.workers > 1
        return waiting > 0 and (running <= waiting if together else not running)

    def _go_on_waiting(self, now: float, waited: float) -> None:
        # Nobody trains, so what is held serves nobody: a trial died before its workers began.
        self.demands.release_met(self.vacancies.placement)
        if waited >= self.seconds:
            self._end(
                f"no trial found room for {self.seconds / 60:g} min: {self.vacancies.shortage()}; "
                "the same command again goes on, --wait MINUTES waits longer"
            )
        elif now >= self._said + SAY_SECONDS:
            self._said = now
            self.say(f"waits for room since {waited / 60:.0f} min: {self.vacancies.shortage()}")

    def _end(self, why: str) -> None:
        self.ended = why
        if not in_main_thread():
            raise Interrupted(why)
        signal.raise_signal(signal.SIGINT)  # Tune ends in good order

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one is made anew by each driver
