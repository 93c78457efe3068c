"""All that a run's records say at one moment, read once: analyses and reports start from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from brainseg.data.table import read_slices, read_table
from brainseg.records.files import Unreadable
from brainseg.records.rows import EpochRow, objective_values
from brainseg.records.run import Run, TrialRecord
from brainseg.records.timing import complete_costs, seconds_of
from brainseg.records.trial_folder import TrialDir
from brainseg.search.expected_dice import expected_of

T = TypeVar("T")
PATIENTS = ["patient", "slices", "tumour_slices", "tp", "fp", "fn", "dice", "iou"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialSnapshot:
    """What one trial left in its folder."""

    folder: TrialDir  # for what is too large to be kept here, such as ``panels``
    record: TrialRecord
    rows: list[EpochRow]  # a row an epoch
    costs: list[dict[str, Any]]  # see ``complete_costs``
    patients: pd.DataFrame  # a row a validation patient at the best epoch; no rows before one
    last: pd.DataFrame | None  # the same at the last epoch, once it is trained
    audit: list[dict[str, Any]]  # a row a stage of freezing
    notes: list[str]  # what was found wrong with its files, see ``TrialDir.notes``

    @classmethod
    def load(cls, run: Run, record: TrialRecord) -> "TrialSnapshot":
        folder = run.trial(record.trial)
        unreadable: list[str] = []

        def unless_damaged(read: Callable[[], T], missing: T) -> T:
            try:
                return read()
            except Unreadable as error:
                unreadable.append(f"{error}. What it held is left out here")
                return missing

        rows = unless_damaged(folder.rows, list[EpochRow]())
        patients = unless_damaged(lambda: _read_patients(folder.patients), None)
        return cls(
            folder=folder,
            record=record,
            rows=rows,
            costs=complete_costs(unless_damaged(folder.noted_costs, list[dict[str, Any]]()), rows),
            patients=_no_patients() if patients is None else patients,
            last=unless_damaged(lambda: _read_patients(folder.last), None),
            audit=unless_damaged(folder.audit, []),
            notes=[*folder.notes(), *_missing(folder, record, rows), *unreadable],
        )

    @property
    def device_seconds(self) -> float:
        """All that the trial spent, over all its devices."""
        return sum(map(seconds_of, self.costs))

    def objective_values(self, objectives: Sequence[str]) -> tuple[float, ...]:
        """The trial's value in each of ``objectives``, as far as it was trained."""
        last, metrics = self.rows[-1], self.folder.metrics
        return objective_values(objectives, last, self.device_seconds, metrics)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSnapshot:
    """A run's records as they were when ``load`` read them; later changes are not in it."""

    path: Path
    sweep: Mapping[str, Any]  # sweep.json
    trials: Mapping[str, TrialSnapshot]  # by name, in the order in which they were first noted
    drivers: list[dict[str, Any]]
    race: list[dict[str, Any]]  # who left it, see ``Run.race``
    openings: list[dict[str, Any]]  # of locked patients and outside data, see ``Run.opened``
    slices: pd.DataFrame  # the table of slices; no rows where it cannot be read
    unlisted: list[str]  # trials that have rows, of which trials.jsonl has lost every line

    @classmethod
    def load(cls, run: Run) -> "RunSnapshot":
        """Read each file of the run's records once."""
        trained = run.trained()  # before the others: a trial may start meanwhile
        trials = {record.trial: TrialSnapshot.load(run, record) for record in run.trials()}
        return cls(
            path=run.path,
            sweep=run.settings(),
            trials=trials,
            drivers=run.drivers(),
            race=run.left_race(),
            openings=run.openings(),
            slices=_read_slices(run),
            unlisted=[trial for trial in trained if trial not in trials],
        )

    @property
    def records(self) -> list[TrialRecord]:
        return [trial.record for trial in self.trials.values()]

    @cached_property
    def validated_search(self) -> frozenset[str]:
        """The persons on whose scores the search chose what this run confirms."""
        if "confirms" not in self.sweep or self.slices.empty:
            return frozenset()
        chosen = self.slices.loc[self.slices["part"] == "validation", "patient"]
        return frozenset(map(self.person, chosen.unique()))

    @cached_property
    def _persons(self) -> dict[str, str]:
        if "person" not in self.slices:
            return {}
        return dict(zip(self.slices["patient"], self.slices["person"], strict=True))

    def person(self, patient: str) -> str:
        """Who a patient is: several of them may be scans of one person."""
        return self._persons.get(patient, patient)

    @cached_property
    def expected_dice(self) -> dict[str, float]:
        """The expected Dice of each trial, see ``search.expected_dice``."""
        rows = {name: trial.rows for name, trial in self.trials.items()}
        return expected_of(self.sweep, self.records, rows)


def _missing(folder: TrialDir, record: TrialRecord, rows: Sequence[EpochRow]) -> list[str]:
    """What a trial that has a score should have beside it, and has not."""
    best = rows[-1].best_epoch if rows else record.best_epoch
    paths = [path for path in (folder.patients, folder.panels) if best and not path.exists()]
    names = " and ".join(path.name for path in paths)
    missing = [f"{names} cannot be shown: missing"] if paths else []
    held, last = {row.epoch for row in rows}, max([record.epoch, *(row.epoch for row in rows)])
    if len(held) < last:
        missing.append(f"metrics.jsonl holds {len(held)} of its {last} epochs: a gap in its curve")
    return missing


def _no_patients() -> pd.DataFrame:
    return pd.DataFrame(columns=PATIENTS, dtype=float).astype({"patient": str})


def _read_patients(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    return read_table(path, numbers=("dice",))


def _read_slices(run: Run) -> pd.DataFrame:
    try:
        return read_slices(run.slices)
    except (Unreadable, OSError):
        return pd.DataFrame()
