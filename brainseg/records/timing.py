"""Where a trial's time goes, from its setup to what it saves, and what it adds up to."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainseg.records.fields import NUMBER, Fields
from brainseg.records.files import Lines
from brainseg.records.rows import ROW_FIELDS, EpochRow

# The phases of an epoch, and what costs.jsonl calls each.
PHASES = {
    "setup": "start",
    "compile": "compile",
    "train": "train",
    "validate": "score",
    "save": "keep",
}
LATER = {"compile"}  # earlier versions did not note it, and spent nothing on it
COST_FIELDS = Fields(  # of costs.jsonl
    ("epoch", "devices", *(part for part in PHASES.values() if part not in LATER)),
    dict.fromkeys(PHASES.values(), NUMBER)
    | {"epoch": int, "devices": int, "device": str, "threads": int},
)


class PhaseTimer:
    """Seconds since it was created or last read, each charged to one of ``PHASES``.

    Attributes:
        spent: seconds of each phase since the last reading.
    """

    def __init__(self, compile_seconds: Callable[[], float] = lambda: 0.0) -> None:
        """
        Args:
            compile_seconds: how long the process has compiled so far, within any phase.
        """
        self._compile_seconds = compile_seconds
        self._since, self._compiled = time.monotonic(), compile_seconds()
        self.spent = dict.fromkeys(PHASES, 0.0)

    def charge(self, phase: str) -> None:
        """Charge the time since the last charge to ``phase``, but for what of it was compiling."""
        now, compiled = time.monotonic(), self._compile_seconds()
        self.spent["compile"] += compiled - self._compiled
        self.spent[phase] += now - self._since - (compiled - self._compiled)
        self._since, self._compiled = now, compiled

    def read(self) -> dict[str, float]:
        """Seconds since the last reading, under the names of costs.jsonl; starts again at zero."""
        seconds = {PHASES[phase]: value for phase, value in self.spent.items()}
        self.spent = dict.fromkeys(PHASES, 0.0)
        return seconds


def complete_costs(
    noted: Sequence[dict[str, Any]], rows: Sequence[EpochRow]
) -> list[dict[str, Any]]:
    """Seconds of each of ``PHASES`` on each of `devices`, a row for each line.

    An epoch that was repeated after a crash counts each time. The time of an epoch that has no
    line of costs is taken from its row of metrics, all of it under `train`.

    Args:
        noted: the lines of costs.jsonl.
        rows: those of metrics.jsonl.
    """
    epochs = {cost["epoch"] for cost in noted}
    unnoted = [
        {"epoch": row.epoch, "devices": row.devices, "train": row.seconds}
        for row in rows
        if row.epoch not in epochs
    ]
    return [dict.fromkeys(PHASES.values(), 0.0) | row for row in (*noted, *unnoted)]


def seconds_of(cost: Mapping[str, Any]) -> float:
    """Device-seconds of one line of costs.jsonl."""
    total: float = sum(cost.get(part, 0.0) for part in PHASES.values())
    return int(cost["devices"]) * total


class DeviceSeconds:
    """The sum of a trial's ``costs``; each call reads only new records."""

    def __init__(self, costs: Path, metrics: Path) -> None:
        self._costs, self._rows = Lines(costs, COST_FIELDS), Lines(metrics, ROW_FIELDS)
        self._noted, self._epochs = 0.0, set[int]()  # seconds, and their epochs
        self._unnoted: dict[int, float] = {}  # by epoch

    def so_far(self) -> float:
        costs = self._costs.new()
        rows = [EpochRow.from_json(line) for line in self._rows.new()]
        if self._costs.from_start:
            self._noted, self._epochs = 0.0, set()
        if self._rows.from_start:
            self._unnoted = {}
        for cost in costs:
            self._noted += seconds_of(cost)
            self._epochs.add(cost["epoch"])
        known = self._unnoted | {row.epoch: row.device_seconds for row in rows}
        self._unnoted = {epoch: s for epoch, s in known.items() if epoch not in self._epochs}
        return self._noted + sum(self._unnoted.values())
