"""A sweep's folder: the records that reports read and that W&B mirrors.

    <storage>/<sweep>/
      sweep.json     question, resolved config, split, baselines, data fingerprint, versions
      slices.csv     every slice with its part; if there are folds, its fold under each seed
                     (fold_<seed>, -1 for test), or under all (fold); where patients are linked,
                     their person
      files.json     the content of every file of the data, as a hash (not in older runs)
      trials.jsonl   append-only: a line for each change of a trial's state; its params are for
                     other readers, brainseg takes them from config.json
      drivers.jsonl  append-only: when each driver started and ended, and why it ended
      race.jsonl     append-only: a line for each configuration that left a confirmation, named
                     by a trial of it; after which seeds, and beaten by whose configuration
      opened.jsonl   append-only: a line for each time that locked patients, or an outside data
                     set, were scored: when, by which command, which models, and why again
      evaluation/    <name>/ of each opening: patients.csv scores.csv reliability.csv
                     agreement.csv evaluation.json; it is there once the opening has shown scores
      compute.json   the precision of all trials that have precision=auto, and why; decided by the
                     first of them
      trials/0007/   config.json metrics.jsonl costs.jsonl patients.csv last.csv panels.npz
                     latest-*.pt best.pt (in a search) last.pt (in a list of points) until stop
                     failure frozen.json audit.json lr_range.csv
                     begins.jsonl (when and where each worker started; what was found
                     wrong) heartbeat parts (of a batch, where memory was short)
                     went_back.json (why epochs were trained again, see keeping.breakdown)

Files are written to a temporary name and renamed. Lines are appended whole; readers skip a last
line that a crash cut short.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from brainseg.records.fields import NUMBER, OPTIONAL_NUMBER, Fields
from brainseg.records.files import Lines, Unreadable, append_line, read_json, read_lines
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED, TrialState

# What every row has, and what the settings have.
TRIAL_FIELDS = Fields(
    ("time", "trial", "state"),
    dict.fromkeys(("time", "trial", "state", "arm", "reason", "retry"), str)
    | dict.fromkeys(("epoch", "best_epoch"), int)
    | {"params": dict, "dice": OPTIONAL_NUMBER, "device_seconds": NUMBER},
)
RACE_FIELDS = Fields(
    ("time", "seeds", "trial", "by", "difference", "bound"),
    {"time": str, "seeds": list, "trial": str, "by": str, "difference": NUMBER, "bound": NUMBER},
)
DRIVER_FIELDS = Fields(("time", "event"), {"time": str, "event": str, "whole": bool})
SWEEP_FIELDS = Fields(
    (
        *("name", "data", "split", "strategy", "space", "base", "fixed"),
        *("data.made_up", "split.shared_patients", "baselines.predictors"),
        *("refits.run", "refits.name", "refits.uid", "refits.group", "refits.configuration"),
        *("refits.trial", "refits.measured", "refits.patients"),
    ),
    dict.fromkeys(("data", "split", "split.counts", "strategy", "space", "base", "fixed"), dict)
    | dict.fromkeys(("name", "question", "phase", "data.root", "data.fingerprint"), str)
    | dict.fromkeys(("data.patients", "data.slices", "split.shared_patients"), int)
    | {"data.made_up": bool, "baselines": dict, "baselines.predictors": list}
    | {"objectives": list, "first": list, "refits": dict, "refits.patients": int}
    | dict.fromkeys(("refits.dice", "refits.low", "refits.high"), OPTIONAL_NUMBER)
    | dict.fromkeys(("refits.run", "refits.name", "refits.uid", "refits.group"), str)
    | dict.fromkeys(("refits.configuration", "refits.trial", "refits.measured"), str),
)
OPENING_FIELDS = Fields(
    ("time", "name", "kind", "fingerprint", "patients", "models", "command"),
    dict.fromkeys(("time", "name", "kind", "data", "fingerprint", "command", "reason"), str)
    | {"patients": int, "slices": int, "models": list, "contents": list},
)
COMPUTE_FIELDS = Fields(("precision",), {"precision": str})
Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DECIDE_AGAIN = "remove it: it is written again, from what the trials recorded if any has started"
LIST = "run the sweep's command again, which lists the trials that have folders"
START_AGAIN = "restore it from a copy, or start the sweep again under another --name"


@dataclass(frozen=True)
class TrialRecord:
    """A trial as of its latest change of state."""

    trial: str
    state: TrialState
    configuration: str = ""  # its name; the key "arm" in trials.jsonl
    params: dict[str, Any] = field(default_factory=dict)
    dice: float | None = None  # best validation Dice
    epoch: int = 0  # epochs finished
    best_epoch: int = 0
    device_seconds: float = 0.0
    reason: str = ""  # why it was stopped or failed
    retry: str = ""  # why it was tried again after it had failed, and of what it had failed


@dataclass(frozen=True)
class Run:
    """A sweep's folder. Trial records are kept in memory; only changes since are read again."""

    path: Path

    @property
    def sweep(self) -> Path:
        return self.path / "sweep.json"

    @property
    def slices(self) -> Path:
        return self.path / "slices.csv"

    @property
    def files(self) -> Path:
        return self.path / "files.json"

    def settings(self) -> dict[str, Any]:
        """What sweep.json says."""
        return dict(read_json(self.sweep, kind=dict, fields=SWEEP_FIELDS, remedy=START_AGAIN))

    @property
    def changes(self) -> Path:
        return self.path / "trials.jsonl"

    @property
    def driver_events(self) -> Path:
        return self.path / "drivers.jsonl"

    @property
    def race(self) -> Path:
        return self.path / "race.jsonl"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def compute(self) -> Path:
        return self.path / "compute.json"

    def precision(self) -> Precision | None:
        """What trials with precision=auto compute in; None if none of them has decided yet."""
        if not self.compute.exists():
            return None
        facts = read_json(self.compute, kind=dict, fields=COMPUTE_FIELDS, remedy=DECIDE_AGAIN)
        for name in PRECISIONS:
            if facts["precision"] == name:
                return name
        fault = f"its precision is {facts['precision']!r}, not {' or '.join(PRECISIONS)}"
        raise Unreadable(self.compute, fault, DECIDE_AGAIN)

    @property
    def results(self) -> Path:
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def create(self) -> None:
        """Make the folder, at a sweep's start alone: later it may have been moved away."""
        (self.path / "trials").mkdir(parents=True, exist_ok=True)

    def trial(self, trial: str) -> TrialDir:
        return TrialDir(self.path / "trials" / trial)

    def note(self, trial: str, state: TrialState, **changes: Any) -> None:
        """Append a change of a trial's state; fields as in ``TrialRecord``."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        renamed = {"arm" if name == "configuration" else name: changes[name] for name in changes}
        append_line(self.changes, {"time": stamp, "trial": trial, "state": state, **renamed})

    def count_ended(self) -> int:
        return sum(record.state in ENDED for record in self._records().values())

    def note_driver(self, event: Literal["begins", "ends"], **facts: Any) -> None:
        """Append that a driver started to run the sweep, or ended, and why."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.driver_events, {"time": stamp, "event": event, **facts})

    def is_whole(self) -> bool:
        """Whether the last driver finished the sweep."""
        return any(driver.get("whole", False) for driver in self.drivers()[-1:])

    def note_race(self, left: Sequence[Mapping[str, Any]]) -> None:
        """Append which configurations left the race at one look, all of them or none."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.race, *({"time": stamp, **line} for line in left))

    def left_race(self) -> list[dict[str, Any]]:
        """Which configurations left the race of a confirmation, in order."""
        return read_lines(self.race, RACE_FIELDS)

    @property
    def opened(self) -> Path:
        return self.path / "opened.jsonl"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluation"

    def note_opening(self, **facts: Any) -> None:
        """Append that locked patients, or an outside data set, are about to be scored."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.opened, {"time": stamp, **facts})

    def openings(self) -> list[dict[str, Any]]:
        """Every opening, first to last."""
        return read_lines(self.opened, OPENING_FIELDS)

    def drivers(self) -> list[dict[str, Any]]:
        return read_lines(self.driver_events, DRIVER_FIELDS)

    def events(self) -> list[dict[str, Any]]:
        """Every change of a trial's state, in order, with its ``time``."""
        return read_lines(self.changes, TRIAL_FIELDS)

    def trials(self) -> list[TrialRecord]:
        """The latest record of every trial, in the order of their first records."""
        return list(self._records().values())

    def trained(self) -> list[str]:
        """The trials that have rows; ``changes`` lists them all, unless it has lost lines."""
        return sorted(path.parent.name for path in self.path.glob("trials/*/metrics.jsonl"))

    def record(self, trial: str) -> TrialRecord:
        """The trial's latest record."""
        return self._records()[trial]

    def _records(self) -> dict[str, TrialRecord]:
        lines, records = self._read
        rows = lines.new()
        if lines.from_start:
            records.clear()
        for row in rows:
            known = records.get(row["trial"]) or self._new_record(row["trial"])
            records[row["trial"]] = self._changed(known, row)
        return records

    def _changed(self, known: TrialRecord, row: dict[str, Any]) -> TrialRecord:
        changes = {name: value for name, value in row.items() if name != "time"}
        if "arm" in changes:
            changes["configuration"] = changes.pop("arm")
        if known.params:
            changes.pop("params", None)
        try:
            changes["state"] = TrialState(row["state"])
            return replace(known, **changes)
        except (TypeError, ValueError) as error:
            fault = f"a line of trial {row['trial']} is none of trials.jsonl ({error})"
            raise Unreadable(self.changes, fault) from None

    def _new_record(self, trial: str) -> TrialRecord:
        """The record of a new trial; its params come from config.json, if that can be read."""
        try:
            params = self.trial(trial).params()
        except (Unreadable, FileNotFoundError):
            params = {}
        return TrialRecord(trial, TrialState.QUEUED, params=params)

    @cached_property
    def _read(self) -> tuple[Lines, dict[str, TrialRecord]]:
        """The reader of ``changes``, and the trials as of what it has read."""
        return Lines(self.changes, TRIAL_FIELDS), {}
