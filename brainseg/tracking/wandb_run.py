"""One W&B run for one trial: opened where it ended, fed from the records, closed.

W&B takes steps in rising order only, and what it already has is asked of W&B itself: online, the
server answers with the last step of the run as it is opened; offline, the files of earlier drivers
are read. So a row is sent once, whoever was killed in between.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import wandb

from brainseg.records.files import Lines
from brainseg.records.rows import EpochRow, columns
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.tracking.marks import OFFLINE, Mark, read_mark
from brainseg.tracking.sending import Sending

DEFAULTS = {  # settings of W&B's runs whose environment variable is not set
    "WANDB_SILENT": ("silent", True),
    "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": ("x_transaction_log_flush_interval", 1.0),
}  # the latter in seconds; by default, 15, a killed driver would lose as much
SUMMARY_BEST = ("dice", "iou", "micro_dice", "tumour_slice_dice")


class NotStored(Exception):
    """W&B took rows and does not have them."""


@dataclass
class WandbRun:
    """A trial's W&B run while it is open.

    Raises (in any method): whatever W&B raises, NotStored, TimeoutError.
    """

    run: Run
    record: TrialRecord
    sending: Sending
    online: bool
    sent: int = field(default=0, init=False)  # epoch of the last row that W&B was given
    _behind: tuple[int, float] | None = field(default=None, init=False)  # what it had, since when
    _rows: Lines = field(init=False)
    _live: Any = field(init=False)
    _served: Any = field(default=None, init=False)  # the run as the server answers for it

    def __post_init__(self) -> None:
        folder = self.run.trial(self.record.trial)
        self._rows = Lines(folder.metrics)
        self._live = self._open()
        if self.online:
            self.sent = max(self._live.starting_step - 1, 0)
        else:
            mark = read_mark(folder)
            elsewhere = mark.epoch if mark and mark.server != OFFLINE else 0
            self.sent = max(elsewhere, _last_step_offline(self.run.path, self._live.id))

    def send_rows(self) -> None:
        """Hand W&B the rows that it does not have; it uploads them in its own process."""
        for line in self._rows.new():
            row = EpochRow.from_json(line)
            if row.epoch > self.sent:
                self._live.log(curve_points(row), step=row.epoch, commit=True)
                self.sent = row.epoch

    def close(self, record: TrialRecord) -> Mark:
        """Close the W&B run, with how the trial ended if it has; return what W&B now holds."""
        if record.state in ENDED:
            self._live.summary.update(_summary(self.run, record))
        self._live.finish(exit_code=1 if record.state == TrialState.FAILED else 0)
        mark = self._mark(record.state if record.state in ENDED else "")
        return replace(mark, gaps=self._gaps()) if self.online else mark

    def check(self) -> Mark | None:
        """What the server holds, if that is all that was sent; None if it is behind."""
        stored, now = self._last_stored(), time.monotonic()
        if stored >= self.sent:
            self._behind = None
            return self._mark("")
        if self._behind is None or self._behind[0] != stored:
            self._behind = stored, now
        if now - self._behind[1] > self.sending.stall_seconds:
            raise self._not_stored(stored)
        return None

    def _gaps(self) -> int:
        """Once all is stored: epochs that an earlier version left out, and W&B now refuses."""
        self._wait_until_stored()
        self._served.load(force=True)
        rows = self.run.trial(self.record.trial).rows()
        known = int(self._served.historyLineCount)
        return max(sum(row.epoch <= self.sent for row in rows) - known, 0)

    def _mark(self, state: str) -> Mark:
        server = str(self._live.settings.base_url) if self.online else OFFLINE
        return Mark(self._live.id, self.sent, state, server, self._live.url or "")

    def _last_stored(self) -> int:
        """The last epoch that the server says it has; 0 for none."""
        if self._served is None:
            api = wandb.Api(timeout=max(1, round(self.sending.answer_seconds)))
            self._served = api.run(self._live.path)
        return max(int(self._served.lastHistoryStep), 0)

    def _wait_until_stored(self) -> None:
        """The server takes rows at once but may show them later."""
        pause, end = 0.1, time.monotonic() + self.sending.answer_seconds
        while (stored := self._last_stored()) < self.sent:
            if time.monotonic() > end:
                raise self._not_stored(stored)
            time.sleep(pause := min(2 * pause, 5.0))

    def _not_stored(self, stored: int) -> NotStored:
        return NotStored(f"it has {stored} of {self.sent} epochs of trial {self.record.trial}")

    def _open(self) -> Any:
        sweep, record = self.run.settings(), self.record
        live = wandb.init(
            project=self.sending.project,
            group=_group(sweep),
            job_type=sweep.get("phase", "search"),
            id=f"{sweep['uid']}-{record.trial}",
            name=f"{record.trial} {record.configuration}",
            tags=_tags(record),
            config=record.params,
            dir=str(self.run.path),
            mode="online" if self.online else "offline",
            resume="allow",
            reinit="create_new",
            settings=_settings(self.sending),
        )
        live.define_metric("epoch")
        live.define_metric("*", step_metric="epoch")
        for name in SUMMARY_BEST:
            live.define_metric(_curve(name), step_metric="epoch", summary="max")
        return live


def _group(sweep: Mapping[str, Any]) -> str:
    """A confirmation, and a refit, beside the search that they come from."""
    if refits := sweep.get("refits"):
        return str(refits["group"])
    return str(sweep.get("confirms", sweep)["name"])


def _settings(sending: Sending) -> wandb.Settings:
    unsaid: dict[str, Any] = dict(
        setting for name, setting in DEFAULTS.items() if name not in os.environ
    )
    return wandb.Settings(
        x_disable_stats=True,
        console="off",
        init_timeout=sending.answer_seconds,
        finish_timeout=sending.upload_seconds,
        finish_timeout_raises=True,
        **unsaid,
    )


def _last_step_offline(run: Path, id: str) -> int:
    """The last step in the files that earlier drivers left, as W&B's own reader gives it back.

    A driver that was killed leaves a file whose last rows are missing; this finds which.
    """
    last = 0
    for file in run.glob(f"wandb/offline-run-*-{id}/*.wandb"):
        reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        silent = {**os.environ, "WANDB_ERROR_REPORTING": "false"}  # it would wait for a network
        read = subprocess.run(reader, capture_output=True, text=True, check=False, env=silent)
        for line in read.stdout.splitlines():
            entry = json.loads(line)
            if entry["type"] == "history":
                last = max(last, int(entry["history"]["step"]["num"]))
    return last


def curve_points(row: EpochRow) -> dict[str, Any]:
    """A row under the names that group curves in W&B: `train/loss`, `val/dice`, ..."""
    return {_curve(name): value for name, value in row.to_json().items()}


def _curve(name: str) -> str:
    """What W&B calls the curve of a column."""
    group = columns()[name].group if name in columns() else ""
    return f"{group}/{name.removeprefix(f'{group}_')}" if group else name


def _summary(run: Run, record: TrialRecord) -> dict[str, Any]:
    """How the trial ended."""
    frozen = {
        f"frozen/{stage['blocks']}_blocks_changed": len(stage["changed"])
        for stage in run.trial(record.trial).audit()
    }
    ended = {"state": record.state.value, "device_seconds": record.device_seconds}
    return ended | ({"reason": record.reason} if record.reason else {}) | frozen


def _tags(record: TrialRecord) -> list[str]:
    wanted = ("model", "model.encoder.name", "model.encoder.freeze")
    return [str(record.params[path])[:64] for path in wanted if path in record.params]
