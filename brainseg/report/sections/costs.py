"""The page's sections on costs, on trials that ended early, and on repeating a trial."""

import pandas as pd

from brainseg.analysis.cost_summary import NOT_COUNTED, Ledger, unit_of
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import in_folds
from brainseg.records.timing import PHASES
from brainseg.report import formatting, replay
from brainseg.report.html import Html, safe, table
from brainseg.report.sections.ranking import WORDS, WRAPPED


def ended_early_section(frame: pd.DataFrame) -> Html:
    early = frame[frame["state"].isin(["failed", "stopped"])].sort_values("state", kind="stable")
    rows = [
        {
            "trial": row["trial"],
            "model": row["arm"],
            "state": row["state"],
            "epochs": row["epochs"],
            "Dice": formatting.number(row["dice"]),
            "why": row["reason"],
        }
        for row in early.to_dict("records")
    ]
    return table(rows, [""] * len(rows), words=WORDS, wrapped=WRAPPED)


def costs_section(spent: Ledger) -> Html:
    """Device time by phase and by how trials ended, and what early stopping saved."""
    if spent.trials.empty:
        return Html()
    seconds, unit = unit_of(spent.trials["total"].sum())
    rows = [
        {
            "phase": row["phase"],
            "state": row["state"],
            "trials": row["trials"],
            "epochs": row["epochs"],
            **{phase: f"{row[column] / seconds:.2f}" for phase, column in PHASES.items()},
            unit: f"{row['total'] / seconds:.2f}",
            "epochs saved": row["saved_epochs"] or "",
            "about": f"{row['saved'] / seconds:.2f}" if row["saved_epochs"] else "",
        }
        for row in spent.by_phase().to_dict("records")
    ]
    costs = table(rows, [""] * len(rows), words=("phase", "state"))
    note = f'<p class="note">In {unit}. {NOT_COUNTED}</p>'
    return Html(f"<p>{safe(spent.sentence())}</p>\n{costs}{note}")


def replay_section(run: RunSnapshot, frame: pd.DataFrame) -> Html:
    if not (frame["rank"].notna().any() or (in_folds(run.sweep) and len(frame))):
        return Html()
    trial = frame["trial"].iloc[0]
    params = run.trials[trial].record.params
    return Html(f"<pre>{safe(replay.replay(run.sweep, trial, params))}</pre>")
