"""Dice against what it costs, with the trials that nobody beats in both joined by a line.

A door to matplotlib; colours and style are those of ``figures``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure

from brainseg.report.figures.style import COLOURS, FAINT, GREY, STYLE, as_svg


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A trial to draw."""

    trial: str
    arm: str
    dice: float
    cost: float
    unbeaten: bool


def tradeoff(spots: Sequence[Spot], cost: str) -> str:
    """A dot a trial: cost to the right on a logarithmic axis, Dice upwards."""
    hover = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        best = sorted((spot for spot in spots if spot.unbeaten), key=lambda spot: spot.cost)
        axes.step(
            [spot.cost for spot in best], [spot.dice for spot in best], c=COLOURS[0], where="post"
        )
        for n, spot in enumerate(spots):
            colour = COLOURS[0] if spot.unbeaten else GREY
            axes.plot(spot.cost, spot.dice, "o", c=colour, ms=7, mew=0, gid=f"spot-{n}")
            hover[f"spot-{n}"] = f"{spot.trial}: {spot.arm}, Dice {spot.dice:.3f}"
        for spot in best:
            axes.annotate(
                spot.trial, (spot.cost, spot.dice), (0, 6), textcoords="offset points",
                ha="center", fontsize=8, color=FAINT,
            )  # fmt: skip
        axes.set_xlabel(cost)
        axes.set_ylabel("validation Dice")
        return as_svg(figure, f"Validation Dice against {cost}", hover)
