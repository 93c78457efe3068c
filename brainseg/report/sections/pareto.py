"""Which trials nobody beats in all that the sweep aims at, as a section of the report's page."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.analysis.pareto import sentence
from brainseg.report import sentences
from brainseg.report.figures.pareto import Spot, tradeoff
from brainseg.report.html import Html, figure, safe, table

TITLE = "Dice against cost"
HEADS = {
    "dice": "Dice",
    "device_seconds": "device-seconds",
    "parameters": "parameters",
    "milliseconds_per_image": "ms an image",
}
FORMS = {"dice": ".3f", "device_seconds": ",.0f", "parameters": ",.0f"}


def section(rows: Sequence[Mapping[str, Any]]) -> Html:
    """The front as a table and a picture for each cost."""
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
    note = f'<p class="note">{sentences.UNSURE}</p>'
    return Html(f"<p>{safe(sentence(rows))}</p>\n{body}\n" + "\n".join(pictures) + note)


def _picture(rows: Sequence[Mapping[str, Any]], aim: str) -> str:
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


def _caption(aims: Sequence[str]) -> str:
    more = f" in all of {', '.join(HEADS[aim] for aim in aims)}" if len(aims) > 2 else ""
    return f"In colour the trials that no other beats{more}. Point at a dot for its name."
