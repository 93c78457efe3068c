"""What a sweep leaves on disk: the truth that W&B mirrors and the report reads.

    <storage>/<sweep>/
      sweep.json     question, resolved config, split, baselines, data fingerprint, versions
      slices.csv     every slice with the part it belongs to; of folds also its fold, -1 for test
      trials.jsonl   append-only: one line a change of a trial's state; the params in it are for
                     other readers, ours take them from config.json
      drivers.jsonl  append-only: when a driver began and ended, and why it ended
      trials/0007/   config.json metrics.jsonl costs.jsonl patients.csv last.csv panels.npz
                     latest-*.pt best.pt until stop failure frozen.json audit.json lr_range.csv
                     begins.jsonl (when, and where each worker was)

Files are written to a temporary name and renamed; lines are appended whole, and a last line cut
short by a crash is passed over when read.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from brainseg.records.files import Lines, append_line, read_lines
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED, TrialState


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the last of its state changes left it."""

    trial: str
    state: TrialState
    arm: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    dice: float | None = None  # best validation Dice
    epoch: int = 0  # epochs finished
    best_epoch: int = 0
    device_seconds: float = 0.0
    reason: str = ""  # why it was stopped or failed


@dataclass(frozen=True)
class Run:
    """A sweep's folder. Trials' records that were read are kept, and only later changes read."""

    path: Path

    @property
    def sweep(self) -> Path:
        return self.path / "sweep.json"

    @property
    def slices(self) -> Path:
        return self.path / "slices.csv"

    @property
    def changes(self) -> Path:
        return self.path / "trials.jsonl"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def results(self) -> Path:
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def trial(self, trial: str) -> TrialDir:
        return TrialDir(self.path / "trials" / trial)

    def note(self, trial: str, state: TrialState, **changes: Any) -> None:
        """Append a change of a trial's state; fields as in ``TrialRecord``."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.changes, {"time": stamp, "trial": trial, "state": state, **changes})

    def count_ended(self) -> int:
        return sum(record.state in ENDED for record in self._records().values())

    def note_driver(self, event: Literal["begins", "ends"], **facts: Any) -> None:
        """Append that a driver took up the sweep, or left it, and why."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.path / "drivers.jsonl", {"time": stamp, "event": event, **facts})

    def is_whole(self) -> bool:
        """Whether the last driver left the sweep finished."""
        return any(driver.get("whole", False) for driver in self.drivers()[-1:])

    def drivers(self) -> list[dict[str, Any]]:
        return read_lines(self.path / "drivers.jsonl")

    def events(self) -> list[dict[str, Any]]:
        """Every change of a trial's state in the order it was noted, with its ``time``."""
        return read_lines(self.changes)

    def trials(self) -> list[TrialRecord]:
        """Every trial's latest record, in the order they were first noted."""
        return list(self._records().values())

    def record(self, trial: str) -> TrialRecord:
        """The trial's latest record."""
        return self._records()[trial]

    def _records(self) -> dict[str, TrialRecord]:
        lines, records = self._read
        rows = lines.new()
        if lines.anew:
            records.clear()
        for row in rows:
            changes = {name: value for name, value in row.items() if name != "time"}
            changes["state"] = TrialState(row["state"])
            known = records.get(row["trial"]) or self._new_record(row["trial"])
            if known.params:
                changes.pop("params", None)
            records[row["trial"]] = replace(known, **changes)
        return records

    def _new_record(self, trial: str) -> TrialRecord:
        """Of a trial that was just noted; its params are config.json's, where there is one."""
        folder = self.trial(trial)
        params = folder.params() if folder.config.exists() else {}
        return TrialRecord(trial, TrialState.QUEUED, params=params)

    @cached_property
    def _read(self) -> tuple[Lines, dict[str, TrialRecord]]:
        """How far ``changes`` was read, and every trial as it was left there."""
        return Lines(self.changes), {}
