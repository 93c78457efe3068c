"""Which trials nobody beats in all that the sweep aims at, as a section of the report's page."""

from collections.abc import Mapping
from typing import Any

from brainseg import report
from brainseg.arms import in_words, named, varied_paths
from brainseg.figure_front import Spot, tradeoff
from brainseg.markup import Html, figure, table
from brainseg.records import Run
from brainseg.tradeoff import front

TITLE = "Dice against cost"
HEADS = {
    "dice": "Dice",
    "device_seconds": "device-seconds",
    "parameters": "parameters",
    "milliseconds_per_image": "ms an image",
}
FORMS = {"dice": ".3f", "device_seconds": ",.0f", "parameters": ",.0f"}


def unbeaten(run: Run, sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a trial that ran to its end: trial, arm, each aim, and whether nobody beats it.

    Best Dice first; no rows for a sweep that aims at Dice alone.
    """
    aims = sweep.get("objectives", ["dice"])
    done = [record for record in run.trials() if record.state == "done"]
    if len(aims) == 1 or not done:
        return []
    paths = varied_paths(done)
    values = [run.trial(record.trial).aims(aims) for record in done]
    kept = front(values, [aim == "dice" for aim in aims])
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


def sentence(rows: list[dict[str, Any]]) -> str:
    """Who is on the front, in words; nothing without rows."""
    best = [f"{row['trial']} ({row['dice']:.3f})" for row in rows if row["unbeaten"]]
    if not best:
        return ""
    return (
        f"Nobody beats {', '.join(best)} in Dice and cost together; only trials that ran to their "
        f"end are compared, {len(rows)} of them."
    )


def section(run: Run, sweep: Mapping[str, Any]) -> Html:
    """The front as a table and a picture for each cost."""
    rows = unbeaten(run, sweep)
    if not rows:
        return Html()
    aims = [key for key in rows[0] if key in HEADS]
    shown = [
        {
            "trial": row["trial"],
            "model": row["arm"],
            **{HEADS[aim]: f"{row[aim]:{FORMS.get(aim, '.2f')}}" for aim in aims},
            "unbeaten": "yes" if row["unbeaten"] else "",
        }
        for row in rows
    ]
    kinds = ["first" if row["unbeaten"] else "faint" for row in rows]
    pictures = [figure(_picture(rows, aim), _caption(aims)) for aim in aims[1:]]
    body = table(shown, kinds, words=("trial", "unbeaten"), wrapped=("model",))
    note = f'<p class="note">{report.UNSURE}</p>'
    return Html(f"<p>{sentence(rows)}</p>\n{body}\n" + "\n".join(pictures) + note)


def _picture(rows: list[dict[str, Any]], aim: str) -> str:
    spots = [
        Spot(
            trial=row["trial"],
            arm=row["arm"],
            dice=row["dice"],
            cost=row[aim],
            unbeaten=row["unbeaten"],
        )
        for row in rows
    ]
    return tradeoff(spots, HEADS[aim])


def _caption(aims: list[str]) -> str:
    more = f" in all of {', '.join(HEADS[aim] for aim in aims)}" if len(aims) > 2 else ""
    return f"In colour the trials that no other beats{more}. Point at a dot for its name."
