"""The page's section on Dice against cost: which trials are Pareto-optimal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainseg.analysis.pareto import sentence
from brainseg.report import sentences
from brainseg.report.figures.pareto import PricedTrial, dice_against_cost
from brainseg.report.html import Figure, Markup, render

TITLE = "Dice against cost"
HEADS = {
    "dice": "Dice",
    "device_seconds": "device-seconds",
    "parameters": "parameters",
    "milliseconds_per_image": "ms per image",
}
DIGITS = {"dice": 3, "device_seconds": 0, "parameters": 0, "milliseconds_per_image": 2}


@dataclass(frozen=True, kw_only=True)
class ParetoRow:
    """A trial that ran to its last epoch."""

    trial: str
    configuration: str
    values: list[tuple[float, int]]  # each objective's, and how many decimals it is given
    optimal: bool


def section(rows: Sequence[Mapping[str, Any]]) -> Markup | None:
    """The trials as a table, and a picture for each cost."""
    if not rows:
        return None
    objectives = [key for key in rows[0] if key in HEADS]
    return render(
        "pareto",
        sentence=sentence(rows),
        objective_heads=[HEADS[objective] for objective in objectives],
        rows=[_row(row, objectives) for row in rows],
        figures=[_figure(rows, cost, objectives) for cost in objectives[1:]],
        caveat=sentences.UNSURE,
    )


def _row(row: Mapping[str, Any], objectives: Sequence[str]) -> ParetoRow:
    return ParetoRow(
        trial=row["trial"],
        configuration=row["name"],
        values=[(row[objective], DIGITS[objective]) for objective in objectives],
        optimal=row["non_dominated"],
    )


def _figure(rows: Sequence[Mapping[str, Any]], cost: str, objectives: Sequence[str]) -> Figure:
    trials = [
        PricedTrial(
            trial=row["trial"],
            configuration=row["name"],
            dice=row["dice"],
            cost=row[cost],
            optimal=row["non_dominated"],
        )
        for row in rows
    ]
    names = [HEADS[objective] for objective in objectives]
    among = f" in {', '.join(names[:-1])} and {names[-1]}" if len(names) > 2 else ""
    caption = f"In colour: Pareto-optimal trials{among}. Point at a dot for its name."
    return Figure(dice_against_cost(trials, HEADS[cost]), caption)
