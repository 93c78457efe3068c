"""When a sweep whose trials find no room in the cluster says so, and when it ends.

Ray itself would wait for ever, silently.
"""

import time
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from brainseg.cluster.capacity import LOG_SECONDS, LOOK_SECONDS, ClusterCapacity
from brainseg.cluster.placement_groups import PlacementGroups
from brainseg.process import Log


class Interrupted(Exception):
    """Raised by a callback, it ends Tune, which ends the trials' processes."""


@dataclass(frozen=True)
class Wait:
    """Nothing to say: trials train, start, or have only waited for a short time."""

    seconds: float = 0.0  # since which every trial waits for room; 0: not all did at the last look


@dataclass(frozen=True)
class Warn:
    """Every trial still waits for room: say what is short."""

    seconds: float


@dataclass(frozen=True)
class End:
    """Every trial has waited for room too long."""

    seconds: float


class RoomTimeout:
    """Decides from what the cluster owes the trials; knows no Ray."""

    def __init__(self, *, minutes: float, workers: int) -> None:
        self.workers = workers  # of one trial
        self.limit_seconds = max(60 * minutes, 2 * LOOK_SECONDS)  # one look may be by bad luck
        self._since: float | None = None
        self._warned = 0.0

    def decide(self, now: float, owed: int, running: int) -> Wait | Warn | End:
        """Whether to keep waiting, after a look at the cluster.

        Args:
            now: seconds, of a clock that never goes back.
            owed: trials whose workers the cluster owes.
            running: trials that run, as Tune sees it.
        """
        if not self._all_wait(owed, running):
            self._since = None
            return Wait()
        if self._since is None:
            self._since = self._warned = now
            return Wait()
        waited = now - self._since
        if waited >= self.limit_seconds:
            return End(waited)
        if now >= self._warned + LOG_SECONDS:
            self._warned = now
            return Warn(waited)
        return Wait(waited)

    def trained(self) -> None:
        """A trial finished an epoch, so it has room."""
        self._since = None

    def _all_wait(self, owed: int, running: int) -> bool:
        """Whether the cluster owes every trial its workers; where it owes none, they are starting.

        Tune asks for the only worker of a trial before the trial runs. Several workers are asked
        for by a trial that, as Tune sees it, runs already.
        """
        return owed > 0 and (running <= owed if self.workers > 1 else running == 0)


class RoomWatcher(tune.Callback):
    """Looks at the cluster every few seconds and carries out what the RoomTimeout decides."""

    def __init__(
        self,
        capacity: ClusterCapacity,
        groups: PlacementGroups,
        *,
        minutes: float,
        log: Log,
    ) -> None:
        self.capacity, self.groups, self.log = capacity, groups, log
        self.timeout = RoomTimeout(minutes=minutes, workers=capacity.placement.workers)
        self.ended = ""  # why the sweep was ended, if it was
        self._looked = -LOOK_SECONDS

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.timeout.trained()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if self.ended or now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        if self.capacity.problem:
            self._end(f"{self.capacity.problem}; fix this, then run the same command to resume")
            return
        placement = self.capacity.placement
        owed = self.groups.unmet(placement)
        running = sum(trial.status == Trial.RUNNING for trial in trials)
        decision = self.timeout.decide(now, owed, running)
        if decision.seconds:
            # No trial trains, so workers that are held are of no use: their trial died early.
            self.groups.release_met(placement)
        if isinstance(decision, End):
            self._end(
                f"no trial found room for {self.timeout.limit_seconds / 60:g} min: "
                f"{self.capacity.shortage()}; run the same command again to resume, or add --wait "
                "MINUTES to wait longer"
            )
        elif isinstance(decision, Warn):
            minutes = decision.seconds / 60
            self.log(f"waiting for room for {minutes:.0f} min: {self.capacity.shortage()}")

    def _end(self, why: str) -> None:
        self.ended = why
        raise Interrupted(why)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; each driver makes a new one
