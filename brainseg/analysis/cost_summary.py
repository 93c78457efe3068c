"""What an answer cost: device-seconds of every trial, by phase and by how the trial ended.

Not counted: the time in which Ray starts processes, and what a killed process spent on an epoch
that it did not finish, since no record of it exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.records.run import Run
from brainseg.records.timing import PHASES
from brainseg.records.trial_state import TrialState

COLUMNS = (
    "phase",
    "trial",
    "arm",
    "state",
    *PHASES.values(),
    "total",
    "epochs",
    "saved_epochs",
    "saved",
)
UNITS = ((1800.0, 3600.0, "device-hours"), (30.0, 60.0, "device-minutes"))
NOT_COUNTED = (
    "Setup: building the network, opening the data, a range test, loading a checkpoint. Compile: "
    "torch.compile, where a trial asks for it. Save: "
    "rows, checkpoints, masks of the pictures, waiting for the driver. Not counted: the start of "
    "processes, and what a killed process spent on an epoch that it did not finish."
)


@dataclass(frozen=True, kw_only=True)
class CostSummary:
    """The costs of a run and of those that it confirms or refits, where their folders are there.

    Attributes:
        trials: a row a trial: ``phase``, ``trial``, ``arm``, ``state``; device-seconds to
            ``start``, ``compile``, ``train``, ``score``, ``keep`` and in ``total``; ``epochs`` run;
            ``saved_epochs`` that early stopping left out, and what they would have cost (``saved``)
            at this trial's own pace.
        device: in words, what one device is.
        missing: the folder of such a run that is not there; "" if none is missing.
    """

    trials: pd.DataFrame
    device: str
    missing: str = ""

    def by_phase(self) -> pd.DataFrame:
        """One row a phase and state: ``trials``, device-seconds, epochs run and saved."""
        groups = self.trials.groupby(["phase", "state"], sort=False)
        sums = groups[[*PHASES.values(), "total", "epochs", "saved_epochs", "saved"]].sum()
        sums.insert(0, "trials", groups.size())
        return sums.reset_index()

    def sentence(self) -> str:
        """`This answer cost 3.1 device-hours: 2.0 to search, 1.1 to confirm (a device: ...).`"""
        total = float(self.trials["total"].sum())
        by_phase = self.trials.groupby("phase", sort=False)["total"].sum()
        running = self.trials["state"].isin([TrialState.QUEUED, TrialState.RUNNING]).any()
        seconds, unit = unit_of(total)
        parts = ", ".join(f"{cost / seconds:.1f} to {phase}" for phase, cost in by_phase.items())
        sentence = f"This answer cost {total / seconds:.1f} {unit}" + " so far" * bool(running)
        sentence += f": {parts}" if len(by_phase) > 1 else ""
        sentence += f" (a device: {self.device})"
        if stopped := int((self.trials["state"] == TrialState.STOPPED).sum()):
            saved = self.trials["saved"].sum() / seconds
            sentence += (
                f"; stopping {stopped} trial{'s'[: stopped > 1]} early saved about {saved:.1f}"
            )
        if self.missing:
            sentence += f"; the run in {self.missing} is not included: its folder is not there"
        return f"{sentence}."


def summarise_costs(run: RunSnapshot) -> CostSummary:
    """What ``run`` cost, together with the runs that it comes from."""
    origins, missing = _origins(run)
    runs = [*origins, run]
    rows = [row for counted in runs for row in _rows(counted)]
    trials = pd.DataFrame(rows, columns=COLUMNS)
    return CostSummary(trials=trials, device=_device(runs), missing=missing)


def unit_of(seconds: float) -> tuple[float, str]:
    """The unit in which ``seconds`` is read most easily: its length in seconds, its name."""
    for least, unit, name in UNITS:
        if seconds >= least:
            return unit, name
    return 1.0, "device-seconds"


def _origins(run: RunSnapshot) -> tuple[list[RunSnapshot], str]:
    """The runs that ``run`` confirms or refits, first to last; the folder that is not there."""
    sweep = run.sweep
    named = sweep.get("refits") or sweep.get("confirms")
    if not named:
        return [], ""
    path = Path(named.get("run") or named["search"])
    for folder in (path, run.path / path, run.path.parent / path.name):
        if Run(folder).sweep.exists():
            origin = RunSnapshot.load(Run(folder))
            if origin.sweep["uid"] == named["uid"]:
                before, missing = _origins(origin)
                return [*before, origin], missing
    return [], str(path)


def _rows(run: RunSnapshot) -> list[dict[str, Any]]:
    phase = run.sweep.get("phase", "search")
    return [{"phase": phase, **_row(trial)} for trial in run.trials.values()]


def _row(trial: TrialSnapshot) -> dict[str, Any]:
    record, costs, epochs = trial.record, trial.costs, trial.record.epoch
    parts = {part: sum(cost["devices"] * cost[part] for cost in costs) for part in PHASES.values()}
    total = float(sum(parts.values()))
    paid = len([cost for cost in costs if cost["train"]])  # some epochs twice, after a crash
    left = record.params.get("epochs", epochs) - epochs if record.state == TrialState.STOPPED else 0
    return {
        "trial": record.trial,
        "arm": record.configuration,
        "state": record.state,
        **parts,
        "total": total,
        "epochs": max([epochs, *(row.epoch for row in trial.rows)]),
        "saved_epochs": left,
        "saved": left * (total - parts["start"] - parts["compile"]) / paid if paid else 0.0,
    }


def _device(runs: Sequence[RunSnapshot]) -> str:
    """What one device is, as the trials recorded it."""
    costs = [cost for run in runs for trial in run.trials.values() for cost in trial.costs]
    kinds = {cost["device"] for cost in costs if "device" in cost}
    if kinds == {"cuda"}:
        return "one GPU"
    threads = sorted({cost["threads"] for cost in costs if cost.get("device") == "cpu"})
    if kinds == {"cpu"}:
        plural = "s" if threads != [1] else ""
        return f"one worker on {' or '.join(map(str, threads))} CPU{plural}"
    return "what a worker held"
