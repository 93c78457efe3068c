"""W&B as a copy of the local records: one W&B run per trial; it never delays training.

The mirror copies rows from a trial's metrics.jsonl, which is the truth. It works in a thread of
its own, in the sweep's driver; W&B's first error is logged, and W&B not used again.
"""

import logging
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Literal

import wandb

from brainseg.records.files import Lines, read_json, write_json
from brainseg.records.rows import EpochRow, columns
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import TrialState

Mode = Literal["online", "offline", "off"]
log = logging.getLogger(__name__)
DEFAULTS = {  # settings of W&B's runs whose environment variable is not set
    "WANDB_SILENT": ("silent", True),
    "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": ("x_transaction_log_flush_interval", 1.0),
}  # the latter in seconds; by default, 15, a killed driver would lose as much
SUMMARY_BEST = ("dice", "iou", "micro_dice", "tumour_slice_dice")


def default_mode() -> Mode:
    """Online where W&B finds a key (environment or netrc), else offline."""
    with redirect_stderr(StringIO()):  # it only says where the key was found
        return "online" if wandb.login(prompt=False, verify=False) else "offline"


def server() -> str:
    """The address of W&B's server: $WANDB_BASE_URL, else from its settings, else the default."""
    return str(wandb.setup().settings.base_url)


@dataclass
class Mirror:
    """Copies trials to W&B in the order in which they are reported to it."""

    run: Run
    mode: Mode
    project: str = "brainseg"
    _jobs: "Queue[Callable[[], None] | None]" = field(default_factory=Queue, init=False)
    _open: dict[str, Any] = field(default_factory=dict, init=False)
    _rows: dict[str, Lines] = field(default_factory=dict, init=False)
    _thread: Thread | None = field(default=None, init=False)
    _broken: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.mode == "off":
            return
        self._thread = Thread(target=self._work, name="wandb-mirror", daemon=True)
        self._thread.start()

    def follow(self, record: TrialRecord) -> None:
        """Copy the rows of the trial that have not been copied yet."""
        self._put(lambda: self._copy(record))

    def finish(self, record: TrialRecord) -> None:
        """Copy the rest and close the trial's W&B run."""
        self._put(lambda: self._finish(record))

    def close(self, timeout_seconds: float = 60.0) -> None:
        """Wait for what is under way, but not for long; the rest is in the local records."""
        if self._thread is None:
            return
        self._jobs.put(None)
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            log.warning(
                "W&B did not finish in %.0f s; its last rows are in the local records only",
                timeout_seconds,
            )

    def _put(self, job: Callable[[], None]) -> None:
        if self._thread is not None:
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._broken:
                continue
            try:
                job()
            except (wandb.Error, OSError, ValueError) as error:
                self._broken = True
                log.warning("W&B is not used from here on, the records are complete: %s", error)
        if not self._broken:
            for live in list(self._open.values()):
                live.finish()

    def _copy(self, record: TrialRecord) -> None:
        folder = self.run.trial(record.trial)
        live = self._open.get(record.trial) or self._start(record)
        done = _copied(folder)
        for line in self._rows.setdefault(record.trial, Lines(folder.metrics)).new():
            row = EpochRow.from_json(line)
            if row.epoch > done:
                live.log(curve_points(row), step=row.epoch, commit=True)
                write_json(_mark(folder), {"id": live.id, "epoch": row.epoch})

    def _finish(self, record: TrialRecord) -> None:
        self._copy(record)
        live = self._open.pop(record.trial)
        del self._rows[record.trial]
        live.summary["state"] = record.state.value
        live.summary["device_seconds"] = record.device_seconds
        if record.reason:
            live.summary["reason"] = record.reason
        for stage in self.run.trial(record.trial).audit():
            live.summary[f"frozen/{stage['blocks']}_blocks_changed"] = len(stage["changed"])
        live.finish(exit_code=1 if record.state == TrialState.FAILED else 0)

    def _start(self, record: TrialRecord) -> Any:
        sweep = read_json(self.run.sweep)
        live = wandb.init(
            project=self.project,
            group=sweep.get("confirms", sweep)["name"],  # a confirmation beside its search
            job_type=sweep.get("phase", "search"),
            id=f"{sweep['uid']}-{record.trial}",
            name=f"{record.trial} {record.configuration}",
            tags=_tags(record),
            config=record.params,
            dir=str(self.run.path),
            mode="online" if self.mode == "online" else "offline",
            resume="allow",
            reinit="create_new",
            settings=_settings(),
        )
        live.define_metric("epoch")
        live.define_metric("*", step_metric="epoch")
        for name in SUMMARY_BEST:
            live.define_metric(_curve(name), step_metric="epoch", summary="max")
        self._open[record.trial] = live
        return live


def _settings() -> wandb.Settings:
    unsaid: dict[str, Any] = dict(
        setting for name, setting in DEFAULTS.items() if name not in os.environ
    )
    return wandb.Settings(x_disable_stats=True, console="off", init_timeout=30, **unsaid)


def curve_points(row: EpochRow) -> dict[str, Any]:
    """A row under the names that group curves in W&B: `train/loss`, `val/dice`, ..."""
    return {_curve(name): value for name, value in row.to_json().items()}


def _curve(name: str) -> str:
    """What W&B calls the curve of a column."""
    group = columns()[name].group if name in columns() else ""
    return f"{group}/{name.removeprefix(f'{group}_')}" if group else name


def _tags(record: TrialRecord) -> list[str]:
    wanted = ("model", "model.encoder.name", "model.encoder.freeze")
    return [str(record.params[path])[:64] for path in wanted if path in record.params]


def _mark(folder: TrialDir) -> Path:
    return folder.path / "wandb.json"


def _copied(folder: TrialDir) -> int:
    mark = _mark(folder)
    return int(read_json(mark)["epoch"]) if mark.exists() else 0
