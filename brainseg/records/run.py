"""What a sweep leaves on disk: the truth that W&B mirrors and the report reads.

    <storage>/<sweep>/
      sweep.json     question, resolved config, split, baselines, data fingerprint, versions
      slices.csv     every slice with the part it belongs to; of folds also its fold, -1 for test
      trials.jsonl   append-only: one line a change of a trial's state
      drivers.jsonl  append-only: when a driver began and ended, and why it ended
      trials/0007/   config.json metrics.jsonl costs.jsonl patients.csv last.csv panels.npz
                     latest-*.pt best.pt until stop failure frozen.json audit.json lr_range.csv
                     begins.jsonl (when, and where each worker was)

Files are written to a temporary name and renamed; lines are appended whole, and a last line cut
short by a crash is passed over when read.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from brainseg.records.timing import PARTS

State = Literal["queued", "running", "paused", "done", "stopped", "failed"]
ENDED: tuple[State, ...] = ("done", "stopped", "failed")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` in one step: a reader sees the old text or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append ``row`` as one line of JSON, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # cut short by a crash: begin a line of its own
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; none if it does not exist. A line cut short is passed over."""
    return Lines(path).new()


class Lines:
    """A .jsonl file that grows: each look reads only what was appended since the last one.

    A file that was replaced, shortened or removed is read from its start again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.anew = False  # whether the last look began at the start of the file
        self._end = 0  # bytes read so far
        self._last = b""  # the last line of them: elsewhere, or gone, in a file that was replaced

    def new(self) -> list[dict[str, Any]]:
        """The rows since the last look. A line cut short is passed over, or read once whole."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._end - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._end, self._last = file.seek(0), b""
                self.anew = self._end == 0
                lines = file.read().splitlines(keepends=True)
        except (FileNotFoundError, NotADirectoryError):
            self.anew, self._end, self._last = True, 0, b""
            return []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                if not line.endswith(b"\n"):
                    break  # somebody may still be writing it
            self._end, self._last = self._end + len(line), line
        return rows


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ended, as its folder tells."""

    state: State
    dice: float | None  # best validation Dice; None if no epoch was finished
    epoch: int
    best_epoch: int
    device_seconds: float
    reason: str


@dataclass(frozen=True)
class TrialDir:
    """Where one trial keeps its records."""

    path: Path

    @property
    def trial(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def costs(self) -> Path:
        """What the trial spent, a line an epoch and one at its end; nothing is ever removed."""
        return self.path / "costs.jsonl"

    @property
    def begins(self) -> Path:
        """When and where its workers began, a line each time that it was taken up."""
        return self.path / "begins.jsonl"

    @property
    def patients(self) -> Path:
        return self.path / "patients.csv"

    @property
    def last(self) -> Path:
        """As ``patients``, at the config's last epoch: no epoch was chosen on these patients."""
        return self.path / "last.csv"

    @property
    def panels(self) -> Path:
        return self.path / "panels.npz"

    @property
    def stop(self) -> Path:
        """There once the search told the trial to stop; holds the reason."""
        return self.path / "stop"

    @property
    def until(self) -> int | None:
        """The epoch after which the search wants the trial to pause; None: its last."""
        path = self.path / "until"
        return int(path.read_text(encoding="utf-8")) if path.exists() else None

    def pause_after(self, epoch: int) -> None:
        """Let the trial pause after ``epoch``; whoever trains it looks before each epoch."""
        write_text(self.path / "until", f"{epoch}\n")

    @property
    def failure(self) -> Path:
        """There once the trial failed for a reason that trying again cannot cure."""
        return self.path / "failure"

    @property
    def lr_range(self) -> Path:
        """The curve of the trial's learning-rate range test, where it took one."""
        return self.path / "lr_range.csv"

    @property
    def frozen(self) -> Path:
        """SHA-256 of the tensors that were frozen before the first step."""
        return self.path / "frozen.json"

    def audit(self) -> list[dict[str, Any]]:
        """What was frozen until which epoch, and which of it changed: a row for each stage."""
        path = self.path / "audit.json"
        return list(read_json(path)) if path.exists() else []

    def write_audit(self, stages: list[dict[str, Any]]) -> None:
        write_json(self.path / "audit.json", stages)

    def rows(self) -> list[dict[str, Any]]:
        """One row an epoch."""
        return read_lines(self.metrics)

    def spent(self) -> list[dict[str, Any]]:
        """Seconds to `start`, `train`, `score` and `keep` on each of `devices`, a row a note.

        An epoch that was repeated after a crash counts as often as it was paid for. Of an epoch
        without a note its row of metrics says how long it took, all of it under `train`.
        """
        noted = read_lines(self.costs)
        epochs = {cost["epoch"] for cost in noted}
        rows = [row for row in self.rows() if row["epoch"] not in epochs]
        unnoted = [
            {"epoch": row["epoch"], "devices": row.get("devices", 1), "train": row["seconds"]}
            for row in rows
        ]
        return [*noted, *(dict.fromkeys(PARTS, 0.0) | row for row in unnoted)]

    def device_seconds(self) -> float:
        """All that the trial spent, over all its devices."""
        return DeviceSeconds(self).so_far()

    def ending(self, crash: str = "") -> Ending:
        """What became of the trial. A score is kept whatever the state.

        Args:
            crash: why its processes died, if they did so more often than they are tried again.
        """
        rows = self.rows()
        state: State = "done"
        reason = ""
        if self.failure.exists():
            state, reason = "failed", self.failure.read_text(encoding="utf-8")
        elif crash:
            state, reason = "failed", f"its processes died each time they were tried: {crash}"
        elif self.stop.exists() and not self._is_finished():
            state, reason = "stopped", self.stop.read_text(encoding="utf-8")
        last = rows[-1] if rows else {}
        if state == "done" and self.until and last["epoch"] < read_json(self.config)["epochs"]:
            state = "paused"
        return Ending(
            state=state,
            dice=last.get("best_dice"),
            epoch=last.get("epoch", 0),
            best_epoch=last.get("best_epoch", 0),
            device_seconds=self.device_seconds(),
            reason=reason,
        )

    def expected_costs(self, aims: Sequence[str], epochs: int) -> dict[str, float]:
        """What a training of ``epochs`` costs in each of ``aims``; empty before its first epoch."""
        rows = self.rows() if aims else []
        if not rows:
            return {}
        whole = rows[-1]["seconds"] * rows[-1]["devices"] * epochs
        return {aim: whole if aim == "device_seconds" else rows[-1][aim] for aim in aims}

    def aims(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """The trial's value in each of ``objectives``, as far as it was trained."""
        last = self.rows()[-1]
        own = {"dice": last["best_dice"], "device_seconds": self.device_seconds()}
        return tuple(float(own[aim] if aim in own else last[aim]) for aim in objectives)

    def _is_finished(self) -> bool:
        last = self.rows()[-1:] if self.config.exists() else []
        return bool(last) and last[0]["epoch"] == read_json(self.config)["epochs"]

    def keep_rows(self, last_epoch: int) -> None:
        """Forget the rows after ``last_epoch``: the trial goes on from there."""
        kept = [row for row in self.rows() if row["epoch"] <= last_epoch]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))


class DeviceSeconds:
    """The sum of what a trial has ``spent``, read on as its records grow."""

    def __init__(self, folder: TrialDir) -> None:
        self._costs, self._rows = Lines(folder.costs), Lines(folder.metrics)
        self._noted, self._epochs = 0.0, set[int]()  # seconds, and the epochs that they are of
        self._unnoted: dict[int, float] = {}  # by epoch

    def so_far(self) -> float:
        costs, rows = self._costs.new(), self._rows.new()
        if self._costs.anew:
            self._noted, self._epochs = 0.0, set()
        if self._rows.anew:
            self._unnoted = {}
        for cost in costs:
            self._noted += cost["devices"] * sum(cost[part] for part in PARTS)
            self._epochs.add(cost["epoch"])
        known = {row["epoch"]: row.get("devices", 1) * row["seconds"] for row in rows}
        known = self._unnoted | known
        self._unnoted = {epoch: s for epoch, s in known.items() if epoch not in self._epochs}
        return self._noted + sum(self._unnoted.values())


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the last of its state changes left it."""

    trial: str
    state: State
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

    def note(self, trial: str, state: State, **changes: Any) -> None:
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
            known = records.get(row["trial"])
            records[row["trial"]] = replace(known, **changes) if known else TrialRecord(**changes)
        return records

    @cached_property
    def _read(self) -> tuple[Lines, dict[str, TrialRecord]]:
        """How far ``changes`` was read, and every trial as it was left there."""
        return Lines(self.changes), {}
