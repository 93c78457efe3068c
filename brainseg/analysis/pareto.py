"""Which trials are Pareto-optimal in all objectives of their sweep: Dice and costs together."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import full_name, in_words, varied_paths
from brainseg.records.trial_state import TrialState
from brainseg.search.multi_objective import non_dominated


def pareto_rows(run: RunSnapshot) -> list[dict[str, Any]]:
    """A row a trial that ran to its last epoch: its name, its objectives, `non_dominated` or not.

    Best Dice first; no rows for a sweep whose one objective is Dice.
    """
    objectives = run.sweep.get("objectives", ["dice"])
    done = [
        record
        for record in run.records
        if record.state == TrialState.DONE and run.trials[record.trial].rows
    ]
    if len(objectives) == 1 or not done:
        return []
    paths = varied_paths(done)
    values = [run.trials[record.trial].objective_values(objectives) for record in done]
    optimal = non_dominated(values, [objective == "dice" for objective in objectives])
    rows = [
        {
            "trial": record.trial,
            "name": full_name(record.configuration, in_words(record.params, paths)),
            "non_dominated": is_optimal,
            **dict(zip(objectives, row, strict=True)),
        }
        for record, row, is_optimal in zip(done, values, optimal, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["dice"])


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which trials are on the Pareto front; nothing without rows."""
    best = [f"{row['trial']} ({row['dice']:.3f})" for row in rows if row["non_dominated"]]
    if not best:
        return ""
    return (
        f"Pareto-optimal in Dice and cost: {', '.join(best)}, of the {len(rows)} trials that ran "
        "to their last epoch."
    )
