"""When a trial that makes no progress is mentioned, and when it is ended, to be tried again.

A process that is stopped, a file system that hangs, workers that wait for each other: to Ray such
a trial runs, and it would run for ever.
"""

import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from brainseg.cluster.capacity import LOOK_SECONDS
from brainseg.cluster.placement import Placement
from brainseg.cluster.placement_groups import PlacementGroups
from brainseg.cluster.processes import end_processes, processes_of
from brainseg.launch.room_timeout import End, Wait, Warn
from brainseg.process import Log
from brainseg.records.checkpoint_index import newest_epoch
from brainseg.records.files import Lines
from brainseg.records.run import Run

WARN_EPOCHS, WARN_SECONDS = 6, 60.0  # it is mentioned after so many of its epochs, or so long
END_EPOCHS = 3  # it is never ended sooner than so many of its longest epoch
START_TIMES = 4  # a start has so many times longer: it may pack data and download weights
# The driver itself may have been stopped: a gap between two looks counts no longer than this.
LONGEST_GAP_SECONDS = 60.0


@dataclass
class _Clock:
    """How long a trial has made no progress."""

    marks: Hashable  # of its progress, at the last look
    looked: float
    epoch_seconds: float = 0.0  # its longest epoch; 0 before the first
    started: bool = False  # whether it got on since its processes started
    warned: bool = False
    seconds: float = 0.0  # without progress


class StallTimeout:
    """Decides from the marks of a trial's progress; knows no Ray.

    ``minutes``: 0 ends no trial, however long it makes no progress.
    """

    def __init__(self, *, minutes: float) -> None:
        self.minutes = minutes
        self._clocks: dict[str, _Clock] = {}

    def start(self, trial: str, now: float, marks: Hashable) -> None:
        """A trial's processes start, for the first time or again.

        Args:
            now: seconds, of a clock that never goes back.
            marks: anything that changes whenever the trial gets on.
        """
        self._clocks[trial] = _Clock(marks, now)

    def restart(self, trial: str) -> None:
        """The trial had a reason to wait; it starts only now."""
        clock = self._clocks[trial]
        clock.seconds, clock.started, clock.warned = 0.0, False, False

    def trained(self, trial: str, epoch_seconds: float) -> None:
        """The trial finished an epoch."""
        clock = self._clocks[trial]
        clock.epoch_seconds = max(clock.epoch_seconds, epoch_seconds)

    def decide(self, trial: str, now: float, marks: Hashable) -> Wait | Warn | End:
        """Whether to mention the trial, once, or to end it, after a look at its marks."""
        clock = self._clocks[trial]
        gap, clock.looked = min(now - clock.looked, LONGEST_GAP_SECONDS), now
        if marks != clock.marks:
            clock.marks, clock.started, clock.warned, clock.seconds = marks, True, False, 0.0
            return Wait()
        clock.seconds += gap
        if self.minutes and clock.seconds >= self.limit_seconds(trial):
            return End(clock.seconds)
        if not clock.warned and clock.seconds >= self._patience(trial):
            clock.warned = True
            return Warn(clock.seconds)
        return Wait(clock.seconds)

    def epoch_seconds(self, trial: str) -> float:
        """The trial's longest epoch; 0 before the first, and while its processes start."""
        clock = self._clocks[trial]
        return clock.epoch_seconds if clock.started else 0.0

    def limit_seconds(self, trial: str) -> float:
        """How long the trial may make no progress before it is ended."""
        epoch, limit = self._clocks[trial].epoch_seconds, 60 * self.minutes
        return max(limit if self.epoch_seconds(trial) else START_TIMES * limit, END_EPOCHS * epoch)

    def _patience(self, trial: str) -> float:
        """How long the trial may make no progress before it is mentioned."""
        half = self.limit_seconds(trial) / 2 if self.minutes else float("inf")
        epoch = self.epoch_seconds(trial)
        return min(max(WARN_EPOCHS * epoch, WARN_SECONDS) if epoch else half, half)


class StallWatcher(tune.Callback):
    """Looks at the trials every few seconds and carries out what the StallTimeout decides."""

    def __init__(
        self,
        run: Run,
        placement: Placement,
        groups: PlacementGroups,
        *,
        minutes: float,
        attempts: int,
        log: Log,
    ) -> None:
        self.run, self.placement, self.groups, self.log = run, placement, groups, log
        self.attempts = attempts  # that a trial has to reach another checkpoint
        self.timeout = StallTimeout(minutes=minutes)
        self._looked = -LOOK_SECONDS
        self._rows: dict[str, Lines] = {}  # of each trial that has started
        self._ended: dict[str, str] = {}  # trials ended since they last started, and why
        self._stalls: dict[str, int] = {}  # how often in a row, without another checkpoint
        self._kept: dict[str, int] = {}  # the epoch of trials' checkpoints at their last stall

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        self.timeout.start(name, time.monotonic(), self.run.trial(name).progress_marks())
        self._rows[name] = Lines(self.run.trial(name).metrics)
        if not self._ended.pop(name, ""):
            self._stalls.pop(name, None)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        for trial in trials:
            name = trial.config["trial"]
            if trial.status == Trial.RUNNING:
                # Read, not awaited: workers that hang may never report the epochs that they wrote.
                for row in self._rows[name].new():
                    self.timeout.trained(name, row["seconds"])
                marks = self.run.trial(name).progress_marks()
                self._carry_out(self.timeout.decide(name, now, marks), name, trial)

    def reason(self, name: str) -> str:
        """Why a trial that was ended here is not tried again; "" if it died by itself."""
        if name not in self._ended:
            return ""
        each = self._stalls[name] >= self.attempts
        return f"{self._ended[name]} at {'every' if each else 'the last'} attempt"

    def _carry_out(self, decision: Wait | Warn | End, name: str, trial: Any) -> None:
        if isinstance(decision, Wait):
            return
        actor = trial.temporary_state.ray_actor
        if self._waits_for_room(actor):
            self.timeout.restart(name)
            return
        quiet = f"made no progress for {_duration(decision.seconds)}"
        if isinstance(decision, Warn):
            self.log(f"[{name}] {quiet}{self._outlook(name)}")
            return
        self._ended[name] = quiet
        kept = newest_epoch(self.run.trial(name).path)
        self._stalls[name] = 1 + (
            self._stalls.get(name, 0) if kept <= self._kept.get(name, 0) else 0
        )
        self._kept[name] = kept
        self.log(f"[{name}] {quiet}: its processes are ended")
        self.timeout.restart(name)
        end_processes(actor)

    def _outlook(self, name: str) -> str:
        """What is known of the trial's pace, and what comes next."""
        epoch, limit = self.timeout.epoch_seconds(name), self.timeout.limit_seconds(name)
        pace = f"its epochs take {_duration(epoch)}" if epoch else "it has not finished an epoch"
        then = f"; it is ended after {_duration(limit)}, see --stall-minutes"
        return f", {pace}{then if self.timeout.minutes else ''}"

    def _waits_for_room(self, actor: Any) -> bool:
        """Whether the trial waits for the workers that the cluster owes it.

        A trial of several workers runs, as Tune sees it, while it waits for them.
        """
        if self.placement.workers == 1 or not self.groups.unmet(self.placement):
            return False
        return not any(process.kind == "RayTrainWorker" for process in processes_of(actor))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; each driver makes a new one


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
