"""The page's ranking, with what its columns mean."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from brainseg.records import queries
from brainseg.records.rows import columns
from brainseg.report import formatting, results, sentences
from brainseg.report.figures import patients, style
from brainseg.report.html import Html, table
from brainseg.search.expected_dice import EXPECTED

HEADS = {score: columns()[score].head for score in results.SCORES}
EXPECTED_HEAD = "expected Dice"
WORDS = ("trial", "over patients", "state")  # columns that are no numbers
WRAPPED = ("model", "differs in", "why")
METRICS = {
    "Dice": columns()["dice"].meaning,
    EXPECTED_HEAD: EXPECTED,
    "over patients": "The validation patients' own Dice on an axis from 0 to 1: bar over the "
    "middle half (its ends stand beside it), line at the median, dot at the mean.",
    **{head: columns()[score].meaning for score, head in HEADS.items()},
    "epochs": "The best, whose scores these are / how many were finished.",
    "device time": "How long the trial held its devices, times their number.",
}


def ranking_section(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Html:
    rows: list[dict[str, object]] = []
    kinds, expects = [], sentences.expects(frame)
    for row in frame.to_dict("records"):
        rows.append(
            {
                "#": _place(row["rank"]),
                "trial": row["trial"],
                "model": row["arm"],
                "Dice": formatting.number(row["dice"]),
                **({EXPECTED_HEAD: formatting.number(row["expected_dice"])} if expects else {}),
                "over patients": _quartiles(row),
                **{name: formatting.number(row[score]) for score, name in HEADS.items()},
                "epochs": f"{row['best_epoch']} / {row['epochs']}" if row["epochs"] else "",
                **({"differs in": row["varied"]} if frame["varied"].any() else {}),
                "device time": formatting.duration(row["device_seconds"]),
                "state": row["state"],
            }
        )
        kinds.append("faint" if pd.isna(row["rank"]) else "first" if row["rank"] == 1 else "")
    for one in results.blind(sweep):
        scores = {name: formatting.number(one[score]) for score, name in HEADS.items()}
        rows.append({"model": one["arm"], "Dice": formatting.number(one["dice"]), **scores})
        kinds.append("faint")
    note = Html(f'<p class="note">{sentences.blind_note(sweep)}</p>')
    return Html(table(rows, kinds, words=WORDS, wrapped=WRAPPED) + note + _leak(sweep))


def meanings(frame: pd.DataFrame) -> dict[str, str]:
    """What the ranking's columns mean."""
    told = sentences.expects(frame)
    return {name: text for name, text in METRICS.items() if told or name != EXPECTED_HEAD}


def _leak(sweep: Mapping[str, Any]) -> Html:
    """What must stand wherever scores under a leaking split do."""
    return Html(f'<p class="warn">{sentences.LEAK}</p>' if queries.leaks(sweep) else "")


def over_seeds_section(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Html:
    """Configurations that were trained with several seeds, each one a row."""
    rows = [
        {
            "model": row["arm"],
            "differs in": row["varied"],
            **({"patients": row["patients"]} if row["patients"] else {}),
            "seeds": row["seeds"],
            "mean Dice": formatting.number(row["dice"]),
            "standard deviation": formatting.number(row["dice_sd"]),
            "lowest": formatting.number(row["dice_low"]),
            "highest": formatting.number(row["dice_high"]),
            "mean best epoch": f"{row['best_epoch']:.1f}",
        }
        for row in frame.to_dict("records")
    ]
    return Html(table(rows, [""] * len(rows), wrapped=WRAPPED) + _leak(sweep)) if rows else Html()


def _place(rank: Any) -> Html:
    """The rank, with the trial's colour in the figures."""
    if pd.isna(rank):
        return Html()
    colours = dict(enumerate(style.COLOURS, start=1))
    dot = f'<span style="color:{colours[rank]}">●</span> ' if rank in colours else ""
    return Html(f"{dot}{rank}")


def _quartiles(row: Mapping[Any, Any]) -> Html:
    if not row["patients"]:
        return Html()
    low, high = row["dice_q1"], row["dice_q3"]
    bar = patients.quartile_bar(low, row["dice_median"], high, row["dice"])
    return Html(f"{bar} {low:.2f} to {high:.2f}")
