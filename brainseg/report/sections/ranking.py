"""The page's ranking, with what its columns mean, and the means over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from brainseg.records import queries
from brainseg.records.rows import columns
from brainseg.report import results, sentences
from brainseg.report.figures import style
from brainseg.report.html import Markup, render
from brainseg.search.expected_dice import EXPECTED

HEADS = {score: columns()[score].head for score in results.SCORES}
EXPECTED_HEAD = "expected Dice"
METRICS = {
    "Dice": columns()["dice"].meaning,
    **{head: columns()[score].meaning for score, head in HEADS.items()},
    EXPECTED_HEAD: EXPECTED,
    "over patients": "The Dice of each validation patient, on an axis from 0 to 1: the bar is the "
    "middle half, with its ends in numbers beside it; the line is the median, the dot the mean.",
    "epochs": "The best epoch, which the scores are from / the number of finished epochs.",
    "device time": "How long the trial held its devices, times their number.",
}


@dataclass(frozen=True, kw_only=True)
class Quartiles:
    """Quartiles and mean of the Dice over validation patients."""

    low: float
    median: float
    high: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class RankingRow:
    """A trial in the ranking; scores are NaN where they are unknown."""

    emphasis: str  # "first", "faint" for a trial without rank, else empty
    rank: int | None
    colour: str  # of the trial in the figures; empty for all but the best few
    trial: str
    configuration: str
    dice: float
    expected_dice: float
    quartiles: Quartiles | None
    scores: list[float]  # in the order of HEADS
    best_epoch: int
    epochs: int
    varied: str
    device_seconds: float
    state: str


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """A predictor that looks at no image."""

    name: str
    dice: float
    scores: list[float]


@dataclass(frozen=True, kw_only=True)
class SeedsRow:
    """A configuration over its seeds."""

    configuration: str
    varied: str
    patients: int  # scored out of fold; 0 in a sweep without folds
    seeds: int
    dice: float
    dice_sd: float
    dice_low: float
    dice_high: float
    best_epoch: float


def ranking_section(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Markup:
    return render(
        "ranking",
        rows=[_row(row) for row in frame.to_dict("records")],
        baselines=[_baseline(row) for row in results.baseline_rows(sweep)],
        score_heads=list(HEADS.values()),
        has_expected_dice=sentences.has_expected_dice(frame),
        varies=bool(frame["varied"].any()),
        baselines_note=sentences.baselines_note(sweep),
        warnings=_leak(sweep),
    )


def meanings_section(frame: pd.DataFrame) -> Markup:
    """What the ranking's columns mean."""
    left_out = [] if sentences.has_expected_dice(frame) else [EXPECTED_HEAD]
    meanings = {name: text for name, text in METRICS.items() if name not in left_out}
    return render("definitions", definitions=meanings)


def over_seeds_section(frame: pd.DataFrame, sweep: Mapping[str, Any]) -> Markup | None:
    """A row per configuration, where some were trained with several seeds."""
    rows = [
        SeedsRow(
            configuration=row["arm"],
            varied=row["varied"],
            patients=row["patients"],
            seeds=row["seeds"],
            dice=row["dice"],
            dice_sd=row["dice_sd"],
            dice_low=row["dice_low"],
            dice_high=row["dice_high"],
            best_epoch=row["best_epoch"],
        )
        for row in frame.to_dict("records")
    ]
    return render("over_seeds", rows=rows, warnings=_leak(sweep)) if rows else None


def _leak(sweep: Mapping[str, Any]) -> list[str]:
    """The warning that goes with every table of scores under a leaking split."""
    return [sentences.LEAK] if queries.leaks(sweep) else []


def _row(row: Mapping[Any, Any]) -> RankingRow:
    rank = None if pd.isna(row["rank"]) else int(row["rank"])
    colours = dict(enumerate(style.COLOURS, start=1))
    return RankingRow(
        emphasis="faint" if rank is None else "first" if rank == 1 else "",
        rank=rank,
        colour=colours.get(rank, "") if rank else "",
        trial=row["trial"],
        configuration=row["arm"],
        dice=row["dice"],
        expected_dice=row["expected_dice"],
        quartiles=_quartiles(row) if row["patients"] else None,
        scores=[row[score] for score in HEADS],
        best_epoch=row["best_epoch"],
        epochs=row["epochs"],
        varied=row["varied"],
        device_seconds=row["device_seconds"],
        state=row["state"],
    )


def _quartiles(row: Mapping[Any, Any]) -> Quartiles:
    return Quartiles(
        low=row["dice_q1"], median=row["dice_median"], high=row["dice_q3"], mean=row["dice"]
    )


def _baseline(row: Mapping[str, Any]) -> BaselineRow:
    return BaselineRow(name=row["name"], dice=row["dice"], scores=[row[score] for score in HEADS])
