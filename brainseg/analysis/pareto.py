"""Which trials nobody beats in all that their sweep aims at: Dice and costs together."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import in_words, named, varied_paths
from brainseg.search.multi_objective import non_dominated


def unbeaten(run: RunSnapshot) -> list[dict[str, Any]]:
    """A row a trial that ran to its end: trial, arm, each aim, and whether nobody beats it.

    Best Dice first; no rows for a sweep that aims at Dice alone.
    """
    aims = run.sweep.get("objectives", ["dice"])
    done = [record for record in run.records if record.state == "done"]
    if len(aims) == 1 or not done:
        return []
    paths = varied_paths(done)
    values = [run.trials[record.trial].objective_values(aims) for record in done]
    kept = non_dominated(values, [aim == "dice" for aim in aims])
    rows = [
        {
            "trial": record.trial,
            "arm": named(record.arm, in_words(record.params, paths)),
            "unbeaten": good,
            **dict(zip(aims, row, strict=True)),
        }
        for record, row, good in zip(done, values, kept, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["dice"])


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Who is on the front, in words; nothing without rows."""
    best = [f"{row['trial']} ({row['dice']:.3f})" for row in rows if row["unbeaten"]]
    if not best:
        return ""
    return (
        f"Nobody beats {', '.join(best)} in Dice and cost together; only trials that ran to their "
        f"end are compared, {len(rows)} of them."
    )
