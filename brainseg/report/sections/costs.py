"""The page's sections on costs, on trials that ended early, and on repeating a trial."""

from dataclasses import dataclass

import pandas as pd

from brainseg.analysis.cost_summary import NOT_COUNTED, CostSummary, unit_of
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.data.splits.folds import FOLD, fold_column
from brainseg.records.queries import fold_count
from brainseg.records.timing import PHASES
from brainseg.records.trial_state import TrialState
from brainseg.report import replay
from brainseg.report.html import Markup, render


@dataclass(frozen=True, kw_only=True)
class EndedRow:
    """A trial that failed or was stopped."""

    trial: str
    configuration: str
    state: str
    epochs: int
    dice: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """Trials of one phase and state; times are in the table's unit."""

    phase: str
    state: str
    trials: int
    epochs: int
    by_phase: list[float]  # in the order of PHASES, those of an epoch that took any time
    total: float
    saved_epochs: int
    saved: float  # an estimate


def ended_early_section(frame: pd.DataFrame) -> Markup | None:
    early = frame[frame["state"].isin([TrialState.FAILED, TrialState.STOPPED])].sort_values(
        "state", kind="stable"
    )
    rows = [
        EndedRow(
            trial=row["trial"],
            configuration=row["arm"],
            state=row["state"],
            epochs=row["epochs"],
            dice=row["dice"],
            reason=row["reason"],
        )
        for row in early.to_dict("records")
    ]
    return render("ended_early", rows=rows) if rows else None


def costs_section(costs: CostSummary) -> Markup | None:
    """Device time by phase and by how trials ended, and what early stopping saved."""
    if costs.trials.empty:
        return None
    seconds, unit = unit_of(costs.trials["total"].sum())
    spent = {phase: column for phase, column in PHASES.items() if costs.trials[column].any()}
    rows = [
        CostRow(
            phase=row["phase"],
            state=row["state"],
            trials=row["trials"],
            epochs=row["epochs"],
            by_phase=[row[column] / seconds for column in spent.values()],
            total=row["total"] / seconds,
            saved_epochs=row["saved_epochs"],
            saved=row["saved"] / seconds,
        )
        for row in costs.by_phase().to_dict("records")
    ]
    return render(
        "costs",
        sentence=costs.sentence(),
        phases=list(spent),
        unit=unit,
        rows=rows,
        not_counted=NOT_COUNTED,
    )


def replay_section(run: RunSnapshot, frame: pd.DataFrame) -> Markup | None:
    """The command that trains the first trial again."""
    if not (frame["rank"].notna().any() or (fold_count(run.sweep) and len(frame))):
        return None
    trial = frame["trial"].iloc[0]
    params = run.trials[trial].record.params
    one_cut = FOLD in run.slices and fold_column(params.get("seed", 0)) not in run.slices
    return render("replay", command=replay.replay(run.sweep, trial, params, one_cut=one_cut))
