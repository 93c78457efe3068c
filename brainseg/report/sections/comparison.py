"""The comparison of a confirmation's arms as a section of the report's page."""

import math
from collections.abc import Mapping
from typing import Any

from brainseg.analysis.comparison import Comparison, Standing
from brainseg.records.queries import in_folds
from brainseg.report import formatting, sentences
from brainseg.report.comparison import METHOD, SCOPE, answer, p_words, ranks
from brainseg.report.figures.forest import Branch, forest
from brainseg.report.html import Html, figure, safe, table

TITLE = "Comparison"
WORDS = ("model", "verdict", "ranks")


def section(sweep: Mapping[str, Any], own: Comparison | str) -> Html:
    """Answer, table and picture; of a confirmation that cannot be compared yet, the reason."""
    if isinstance(own, str):
        return Html(f'<p class="note">{safe(own)}</p>' if in_folds(sweep) else "")
    kinds = ["first", *("" if one.tied else "faint" for one in own.standings[1:])]
    body = table(
        [_row(place, one, own) for place, one in enumerate(own.standings)],
        kinds,
        words=WORDS,
        wrapped=("model",),
    )
    warned = "".join(f'<p class="warn">{safe(text)}</p>' for text in sentences.warnings(sweep))
    notes = "".join(f'<p class="note">{safe(text)}</p>' for text in (*own.notes, METHOD, SCOPE))
    said = "" if in_folds(sweep) else f"<p>{safe(answer(own))}</p>"  # it leads the page
    return Html(f"{warned}{said}\n{body}\n{_picture(own)}\n{notes}")


def _row(place: int, one: Standing, own: Comparison) -> dict[str, object]:
    gap, rival = one.difference, place > 0
    good = not rival or one.bound > -own.margin
    return {
        "#": place + 1,
        "model": one.arm,
        "Dice": formatting.number(one.dice.mean),
        "95 % interval": f"{one.dice.low:.3f} to {one.dice.high:.3f}",
        "less the first": f"{gap.mean:+.3f}" if rival else "",
        "percentile": f"{gap.low:+.3f} to {gap.high:+.3f}" if rival else "",
        "BCa": f"{gap.bca_low:+.3f} to {gap.bca_high:+.3f}" if rival else "",
        "p": p_words(one.p) if rival else "",
        "Holm p": p_words(one.p_holm) if rival else "",
        "verdict": "" if not rival else "tied" if one.tied else "worse",
        f"not worse by {own.margin:g}": "yes" if good else "not shown",
        "P(best)": f"{one.first:.2f}",
        "ranks": ranks(one),
        "parameters": "" if math.isnan(one.parameters) else f"{one.parameters / 1e6:.1f} M",
        "device time": formatting.duration(one.device_seconds),
    }


def _picture(own: Comparison) -> Html:
    branches = [
        Branch(
            arm=one.arm,
            difference=one.difference.mean,
            interval=(one.difference.low, one.difference.high),
            bca=(one.difference.bca_low, one.difference.bca_high),
            first=one.first,
            tied=one.tied,
        )
        for one in own.standings
    ]
    return figure(
        forest(branches, own.margin),
        "Dot: mean difference to the leader; line: its 95 % interval by percentiles, dashed by "
        f"BCa; blue: tied with the leader after correction; green: within the margin of "
        f"{own.margin:g}. Right: in which share of the bootstrap's replicates an arm is the best.",
    )
