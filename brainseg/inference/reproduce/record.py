"""What a trial's record says of how it was trained: what must be known to train it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import ceil, isnan
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.data.splits.folds import rows_of
from brainseg.data.table import read_slices, read_table
from brainseg.inference.trained import read_network
from brainseg.records.fields import ANY, Fields
from brainseg.records.files import RESTORE, Unreadable, read_json, read_lines, read_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import TrialState
from brainseg.training.compute.plan import Compute
from brainseg.training.guards.memory import MOST_PARTS, parts_of
from brainseg.training.task import Task

SHOWN = 12  # trials, where a name is none
WORKER_FIELDS = Fields(("device",), {"device": str})
START_FIELDS = Fields(
    kinds={"epoch": int, "compute": dict, "workers": list, "machines": list, "versions": dict},
    due={"workers": "epoch"},
)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How some epochs were trained.

    Attributes:
        threads: of each worker.
        workers: processes that trained together.
        parts: of a batch, where memory was short.
        compute: None where an earlier version did not record it.
    """

    threads: int
    workers: int
    parts: int
    compute: Compute | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Epochs up to ``until`` that were trained in one way."""

    until: int
    setup: Setup
    went_back: Mapping[str, Any] | None = None  # what went_back.json says from its start on


@dataclass(frozen=True)
class Record:
    """One trial's, that has ended or waits at a pause.

    Attributes:
        rows: of the epochs that count: what was lost or given up has none.
    """

    run: Run
    trial: str
    rows: tuple[EpochRow, ...]

    @classmethod
    def of(cls, run: Run, trial: str) -> "Record":
        """Read it.

        Raises:
            ValueError: there is no such trial, it is being trained, or it left nothing to compare.
        """
        folder = run.trial(trial)
        known = sorted(path.name for path in run.path.glob("trials/*") if path.is_dir())
        if trial not in known:
            listed = ", ".join(known[:SHOWN]) + ", ..." * (len(known) > SHOWN)
            raise ValueError(
                f"TRIAL must be one of {run.path}, got {trial!r}; it has {listed or 'none yet'}"
            )
        noted = {record.trial: record.state for record in run.trials()}
        state = folder.state(noted.get(trial))
        if state in (TrialState.RUNNING, TrialState.QUEUED):
            raise ValueError(
                f"a trial must have ended to be reproduced, {trial} is {state}; wait for it, or "
                "run the sweep's command again to resume it"
            )
        record = cls(run, trial, tuple(folder.rows()))
        if not record.rows and not record.failure:
            raise ValueError(
                f"{trial} finished no epoch, so that nothing of it can be compared; name another"
            )
        _ = record.stages(), record.patients, record.network  # whatever is damaged is refused now
        return record

    @property
    def folder(self) -> TrialDir:
        return self.run.trial(self.trial)

    @cached_property
    def config(self) -> TrialConfig:
        return build(TrialConfig(), self.folder.params())

    @cached_property
    def failure(self) -> str:
        """Why the trial failed by itself; "" if it did not, or if its machine did."""
        path = self.folder.failure
        return read_text(path).strip() if path.exists() else ""

    @property
    def was_validated(self) -> bool:
        """Whether its epochs have scores; nobody is left to validate a refit on."""
        return any(not isnan(row.dice) for row in self.rows)

    @property
    def scored_last(self) -> bool:
        """Whether it is compared at its last epoch, which it must have reached, or at its best."""
        return Task(self.run.path, self.trial).scored_last and self.folder.last.is_file()

    @property
    def table(self) -> Path:
        """The table of patients that it is compared by."""
        return self.folder.last if self.scored_last else self.folder.patients

    @cached_property
    def patients(self) -> pd.DataFrame | None:
        """That table; None where nobody was validated."""
        return read_patients(self.table) if self.was_validated else None

    @cached_property
    def network(self) -> Mapping[str, Tensor] | None:
        """That of its last epoch, where no score tells how it was; None if it was not reached."""
        is_whole = self.rows and self.rows[-1].epoch == self.config.epochs and not self.failure
        if self.was_validated or not is_whole:
            return None
        return read_network(self.folder.last_network)[0]

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """Of its workers: when, from which epoch on, how they computed, and where."""
        path = self.folder.starts
        lines = [line for line in read_lines(path, START_FIELDS) if "workers" in line]
        for line in lines:
            faults = [WORKER_FIELDS.fault(worker) for worker in line["workers"]]
            faults += [ANY.fault(machine) for machine in line.get("machines", ())]
            if fault := next(filter(None, faults), ""):
                raise Unreadable(path, f"a worker or a machine in it {fault}")
        return lines

    @property
    def is_of_gpu(self) -> bool:
        return any(w["device"].startswith("cuda") for s in self.starts for w in s["workers"])

    def stages(self) -> list[Stage]:
        """How its epochs were trained, in order; of one that failed also the epoch that did."""
        setups = [self._setup(row) for row in self.rows]
        if self.failure:
            last = setups[-1] if setups else self._setup(EpochRow(epoch=1, dice=0, seconds=0))
            setups.append(
                Setup(
                    threads=last.threads,
                    workers=last.workers,
                    parts=parts_of(self.folder),
                    compute=last.compute,
                )
            )
        again = next((row.epoch for row in self.rows if row.attempt), 0)
        stages, until = [], 0
        numbered = enumerate(setups, start=1)
        for (setup, is_again), epochs in groupby(
            numbered, key=lambda item: (item[1], 0 < again <= item[0])
        ):
            until += len(list(epochs))
            went_back = self._went_back() if is_again else None
            stages.append(Stage(until=until, setup=setup, went_back=went_back))
        return stages

    def _went_back(self) -> Mapping[str, Any]:
        return dict(read_json(self.folder.path / "went_back.json", kind=dict))

    def _setup(self, row: EpochRow) -> Setup:
        nowhere: dict[str, Any] = {}
        start = next((s for s in reversed(self.starts) if s["epoch"] < row.epoch), nowhere)
        return Setup(
            threads=self._threads.get(row.epoch, 1),
            workers=len(start.get("workers", ())) or row.devices,
            parts=self._parts(row),
            compute=Compute.from_json(start.get("compute", {})),
        )

    @cached_property
    def _threads(self) -> dict[int, int]:
        """Of each epoch as it was trained last, where it was noted."""
        costs: Sequence[dict[str, Any]] = self.folder.noted_costs()
        return {c["epoch"]: c["threads"] for c in costs if "threads" in c and c.get("train")}

    def _parts(self, row: EpochRow) -> int:
        if row.micro_batch is None:
            return 1
        share = min(self.config.batch_size, self._trained_on) // row.devices
        parts = [2**k for k in range(1, MOST_PARTS) if 2**k <= MOST_PARTS]
        return next((p for p in parts if ceil(share / p) <= row.micro_batch), MOST_PARTS)

    @cached_property
    def _trained_on(self) -> int:
        """Slices."""
        table = read_slices(self.run.slices)
        return len(rows_of(table, self.config.fold, self.config.seed)[0])


def read_patients(path: Path) -> pd.DataFrame:
    """A table of patients; ``Unreadable`` if it is missing or damaged."""
    return read_table(path, numbers=("dice",), remedy=f"{RESTORE}, or name another trial")
