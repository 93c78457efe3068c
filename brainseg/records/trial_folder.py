"""A trial's folder: its configuration, its epochs, its costs, and how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.records.fields import Fields
from brainseg.records.files import (
    Unreadable,
    append_line,
    read_json,
    read_lines,
    read_text,
    write_json,
    write_text,
)
from brainseg.records.rows import ROW_FIELDS, EpochRow, objective_value, objective_values
from brainseg.records.timing import COST_FIELDS, DeviceSeconds, complete_costs
from brainseg.records.trial_state import ENDED, TrialState


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ended, according to its folder."""

    state: TrialState
    dice: float | None  # best validation Dice; None if no epoch was finished
    epoch: int
    best_epoch: int
    device_seconds: float
    reason: str

    def changes(self) -> dict[str, Any]:
        """What trials.jsonl holds of it beside the state."""
        return {name: value for name, value in asdict(self).items() if name != "state"}


@dataclass(frozen=True)
class TrialDir:
    """Where one trial keeps its records."""

    path: Path

    @property
    def trial(self) -> str:
        return self.path.name

    def create(self, params: Mapping[str, Any]) -> None:
        """Make the folder, in a run's that exists, with the trial's whole configuration."""
        self.path.mkdir(exist_ok=True)
        write_json(self.config, dict(params))

    @property
    def config(self) -> Path:
        """The whole configuration, written before the trial starts and never changed."""
        return self.path / "config.json"

    def params(self) -> dict[str, Any]:
        """The trial's configuration as one flat dict."""
        remedy = "repeat the sweep's command, which writes it again"
        params = dict(read_json(self.config, kind=dict, fields=Fields(("epochs",)), remedy=remedy))
        try:
            build(TrialConfig(), params)
        except ValueError as error:
            raise Unreadable(self.config, f"it is no configuration ({error})", remedy) from None
        return params

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def costs_path(self) -> Path:
        """Seconds that the trial used: a line for each epoch and one at its end; append-only."""
        return self.path / "costs.jsonl"

    @property
    def starts(self) -> Path:
        """When and where its workers started, a line for each start or resume; and ``notes``."""
        return self.path / "begins.jsonl"

    def note(self, epoch: int, text: str, **facts: Any) -> None:
        """Append what a person should know of the trial, such as that a checkpoint was damaged.

        Args:
            facts: of it, for programs, such as `lost`: see ``lost_epochs``.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        append_line(self.starts, {"at": at, "epoch": epoch, "note": text, **facts})

    def notes(self) -> list[str]:
        """What a person should know of the trial, in sentences without a full stop."""
        return [line["note"] for line in read_lines(self.starts) if "note" in line]

    def lost_epochs(self) -> list[tuple[int, int]]:
        """The first and the last epoch that were lost, each time that some were."""
        lost = [line["lost"] for line in read_lines(self.starts) if "lost" in line]
        return [(first, last) for first, last in lost]

    @property
    def heartbeat(self) -> Path:
        """Touched every few seconds while batches are trained or scored."""
        return self.path / "heartbeat"

    def progress_marks(self) -> tuple[tuple[int, int], ...]:
        """What changes as soon as the trial gets on; it says nothing else."""
        return tuple(map(_mark, (self.starts, self.heartbeat, self.metrics, self.costs_path)))

    @property
    def patients(self) -> Path:
        return self.path / "patients.csv"

    @property
    def last(self) -> Path:
        """As ``patients``, but at the last epoch, which no score of these patients chose."""
        return self.path / "last.csv"

    @property
    def best_network(self) -> Path:
        """The network at its best epoch, where the best epoch is what counts: in a search."""
        return self.path / "best.pt"

    @property
    def last_network(self) -> Path:
        """The network at its last epoch, that of ``last``, where that is what counts: in a list."""
        return self.path / "last.pt"

    @property
    def panels(self) -> Path:
        return self.path / "panels.npz"

    @property
    def stop(self) -> Path:
        """Exists once the search has stopped the trial; holds the reason."""
        return self.path / "stop"

    @property
    def pause_epoch(self) -> int | None:
        """The epoch after which the trial is to pause; None: not before its last."""
        path = self.path / "until"
        if not path.exists():
            return None
        remedy = "repeat the sweep's command, which sets it again"
        text = read_text(path, remedy)
        if not text.strip().isdecimal():
            raise Unreadable(path, f"an epoch is a number, it says {text.strip()[:40]!r}", remedy)
        return int(text)

    def pause_after(self, epoch: int) -> None:
        """Make the trial pause after ``epoch``; its worker looks before each epoch."""
        write_text(self.path / "until", f"{epoch}\n")

    @property
    def failure(self) -> Path:
        """Exists once the trial failed in a way that a retry cannot fix; holds the reason."""
        return self.path / "failure"

    def reopen(self) -> None:
        """Make a failed trial ready to be tried again; its failure is kept as `failure.1`, ..."""
        if self.failure.exists():
            earlier = len(list(self.path.glob("failure.*")))
            self.failure.rename(self.path / f"failure.{earlier + 1}")
        self.stop.unlink(missing_ok=True)

    @property
    def lr_range(self) -> Path:
        """The curve of the trial's learning-rate range test, if it ran one."""
        return self.path / "lr_range.csv"

    @property
    def frozen(self) -> Path:
        """SHA-256 of the tensors that were frozen before the first step."""
        return self.path / "frozen.json"

    @property
    def audit_path(self) -> Path:
        return self.path / "audit.json"

    def audit(self) -> list[dict[str, Any]]:
        """A row for each stage: what was frozen, until which epoch, and what of it changed."""
        names = ("epoch", "blocks", "tensors", "changed")
        fields = Fields(names, {"epoch": int, "tensors": int, "changed": list})
        path = self.audit_path
        return list(read_json(path, kind=list, fields=fields)) if path.exists() else []

    def write_audit(self, stages: list[dict[str, Any]]) -> None:
        write_json(self.audit_path, stages)

    def rows(self) -> list[EpochRow]:
        """A row for each epoch."""
        return [EpochRow.from_json(line) for line in read_lines(self.metrics, ROW_FIELDS)]

    def costs(self) -> list[dict[str, Any]]:
        """See ``complete_costs``."""
        return complete_costs(self.noted_costs(), self.rows())

    def noted_costs(self) -> list[dict[str, Any]]:
        """The lines of costs.jsonl."""
        return read_lines(self.costs_path, COST_FIELDS)

    def device_seconds(self) -> float:
        """Seconds that the trial used, summed over its devices."""
        return DeviceSeconds(self.costs_path, self.metrics).so_far()

    def state(self, noted: TrialState | None = None, *, returned: bool = False) -> TrialState:
        """The trial's state by its files; driver and search use this one rule.

        Args:
            noted: its last state in trials.jsonl, if it has one.
            returned: whether its process has just returned to the driver; if not, the process is
                running, or its driver was killed.
        """
        if noted in ENDED or (noted == TrialState.PAUSED and not returned):
            return TrialState(noted)
        rows = self.rows()
        epoch = rows[-1].epoch if rows else 0
        planned = int(self.params()["epochs"]) if self.config.exists() else None
        if not returned:
            if planned is None:
                return TrialState.QUEUED
            if self.failure.exists():
                return TrialState.FAILED
            at_its_pause = epoch == self.pause_epoch != planned
            return TrialState.PAUSED if at_its_pause else TrialState.RUNNING
        if self.failure.exists():
            return TrialState.FAILED
        if self.stop.exists() and epoch != planned:
            return TrialState.STOPPED
        return (
            TrialState.PAUSED if self.pause_epoch and rows and epoch != planned else TrialState.DONE
        )

    def ending(self, crash: str = "") -> Ending:
        """How the trial ended. A score is kept whatever the state.

        Args:
            crash: why its processes did not get on, if no retry is left.
        """
        state, reason = self.state(returned=True), ""
        if state == TrialState.FAILED:
            reason = _reason(self.failure)
        elif crash:
            state = TrialState.FAILED
            reason = crash
        elif state == TrialState.STOPPED:
            reason = _reason(self.stop)
        last = next(iter(self.rows()[-1:]), None)
        return Ending(
            state=state,
            dice=last.best_dice if last else None,
            epoch=last.epoch if last else 0,
            best_epoch=last.best_epoch if last else 0,
            device_seconds=self.device_seconds(),
            reason=reason,
        )

    def expected_costs(self, aims: Sequence[str], epochs: int) -> dict[str, float]:
        """The cost of ``epochs`` epochs in each of ``aims``; empty before the first epoch ended."""
        rows = self.rows() if aims else []
        if not rows:
            return {}
        values = {"device_seconds": rows[-1].device_seconds * epochs}
        return {
            aim: values[aim] if aim in values else objective_value(rows[-1], aim, self.metrics)
            for aim in aims
        }

    def objective_values(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """The trial's value in each of ``objectives``, so far.

        Raises:
            Unreadable: the rows of a trial that had some are lost.
        """
        if not (rows := self.rows()):
            raise Unreadable(self.metrics, "no epoch is left in it")
        return objective_values(objectives, rows[-1], self.device_seconds(), self.metrics)


def _mark(path: Path) -> tuple[int, int]:
    """Time and size of a file; zeros where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def _reason(path: Path) -> str:
    """Why a trial ended; that its file cannot be read, if so: the end itself is beyond doubt."""
    try:
        return read_text(path)
    except Unreadable as error:
        return str(error)
