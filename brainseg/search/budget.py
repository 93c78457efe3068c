"""What a sweep has spent so far, and why it should end: each reason is a sentence."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from statistics import median, pstdev
from typing import Any

from brainseg.config.sweep import Budget
from brainseg.records.files import Lines
from brainseg.records.run import TRIAL_FIELDS, Run
from brainseg.records.timing import DeviceSeconds
from brainseg.records.trial_state import TrialState

LATE = 3  # the last third of a training is where its Dice has settled


class BudgetTracker:
    """Wall time and device time of one run, over all its drivers so far."""

    def __init__(self, run: Run, budget: Budget) -> None:
        self.run, self.budget = run, budget
        self._before = earlier_hours(run)
        self._began = time.monotonic()
        self._changes, self._judged = Lines(run.changes, TRIAL_FIELDS), list[dict[str, Any]]()
        self._late: dict[str, float | None] = {}  # noise of Dice late in each whole training
        self._meters: dict[str, DeviceSeconds] = {}
        self._device_seconds: dict[str, float] = {}
        self._all_seconds = 0.0  # their sum
        for record in run.trials():
            self.update(record.trial)

    def update(self, trial: str) -> None:
        """Read the new lines of a trial's records: it finished an epoch, or ended."""
        if trial not in self._meters:
            folder = self.run.trial(trial)
            self._meters[trial] = DeviceSeconds(folder.costs_path, folder.metrics)
        seconds = self._meters[trial].so_far()
        self._all_seconds += seconds - self._device_seconds.get(trial, 0.0)
        self._device_seconds[trial] = seconds

    @property
    def hours(self) -> float:
        return self._before + (time.monotonic() - self._began) / 3600

    @property
    def device_hours(self) -> float:
        return self._all_seconds / 3600

    def seconds_left(self, places: int) -> float:
        """Device-seconds that are left to ``places`` trials at once."""
        wall = (self.budget.hours - self.hours) * places
        return 3600 * min(wall, self.budget.device_hours - self.device_hours)

    def spent(self) -> str:
        """Which limit is reached; "" if none is."""
        if self.hours >= self.budget.hours:
            return f"the budget of {self.budget.hours:g} hours is spent"
        if self.device_hours >= self.budget.device_hours:
            return f"the budget of {self.budget.device_hours:g} device-hours is spent"
        return ""

    def stalled(self) -> str:
        """Why recent trials suggest that nothing better will follow; "" if they do not."""
        if not self.budget.patience:
            return ""
        noise = self.noise()
        self._judged += [row for row in self._changes.new() if row["state"] != TrialState.RUNNING]
        without, best = since_improvement(self._judged, noise)
        if without < self.budget.patience:
            return ""
        return (
            f"none of the last {without} trials improved the best Dice, {best:.3f}, by more than "
            f"the noise, {noise:.3f}"
        )

    def noise(self) -> float:
        """By how much Dice varies from epoch to epoch late in training, by chance.

        The median over trials that trained to their end; 0 while there is none.
        """
        for record in self.run.trials():
            if record.state == TrialState.DONE and record.trial not in self._late:
                rows = self.run.trial(record.trial).rows()
                self._late[record.trial] = late_noise([row.dice for row in rows])
        known = [noise for noise in self._late.values() if noise is not None]
        return median(known) if known else 0.0


def earlier_hours(run: Run) -> float:
    """Wall time of earlier drivers; one that was killed counts until its last note."""
    stamps = [_seconds(row) for row in run.events()]
    drivers = [(_seconds(row), row["event"]) for row in run.drivers()]
    total = 0.0
    for n, (start, event) in enumerate(drivers):
        following = drivers[n + 1 : n + 2]
        if event == "ends":
            continue
        if following and following[0][1] == "ends":
            total += following[0][0] - start
        else:
            bound = following[0][0] if following else inf
            total += max([start, *(stamp for stamp in stamps if stamp <= bound)]) - start
    return total / 3600


def since_improvement(events: Sequence[dict[str, Any]], noise: float) -> tuple[int, float]:
    """How many trials were judged since the best Dice last rose by more than ``noise``.

    Returns that number and the best Dice.
    """
    best, without, judged = -inf, 0, set[str]()
    for event in events:
        if event["state"] == TrialState.RUNNING:
            continue
        dice = event.get("dice")
        if dice is not None and dice > best + noise:
            best, without = dice, 0
        elif event["trial"] not in judged:
            without += 1
        judged.add(event["trial"])
    return without, best


def late_noise(dice: Sequence[float]) -> float | None:
    """By how much Dice varies late in one training; None if it was too short.

    The standard deviation of the changes in the last third of its epochs, over the square root
    of 2 as each holds the noise of two epochs.
    """
    late = dice[-max(3, len(dice) // LATE) :]
    changes = [after - before for before, after in pairwise(late)]
    return pstdev(changes) / 2**0.5 if len(changes) > 1 else None


def _seconds(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["time"]).astimezone(UTC).timestamp()
