"""Differences with their intervals: to the best other configuration, and of claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainseg.report.figures.style import COLOURS, FAINT, GREY, INK, STYLE, Svg, as_svg


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """A configuration to draw; differences are its Dice less that of the best of the others."""

    configuration: str  # in words
    difference: float
    interval: tuple[float, float]
    first: float | None  # P(best); None: it left the race
    may_be_best: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference to draw; without an interval ``low`` and ``high`` are NaN."""

    name: str
    value: float
    low: float
    high: float


def forest_plot(rows: Sequence[ForestRow], margin: float) -> Svg:
    """A row per configuration, best first: difference and interval, and P(best) beside them."""
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 1 + 0.45 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        left.axvspan(-margin, 0, color=COLOURS[2], alpha=0.09, lw=0)
        left.axvline(0, c=FAINT, lw=1)
        for height, row in enumerate(rows):
            _draw(left, right, height, row)
        _name_rows(left, [row.configuration for row in rows])
        left.set_xlabel("Dice less that of the best other configuration")
        right.set_xlim(0, 1.22)
        right.set_xticks([0, 0.5, 1])
        right.set_xlabel("P(best)")
        right.tick_params(labelleft=False)
        right.spines["left"].set_visible(False)
        return as_svg(figure, "Difference of every configuration to the best other, and P(best)")


def difference_plot(differences: Sequence[Difference], measure: str) -> Svg:
    """A row per difference in ``measure``: a dot, and its interval where it has one."""
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 0.8 + 0.42 * len(differences)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, c=FAINT, lw=1)
        for height, difference in enumerate(differences):
            # matplotlib draws nothing for NaN
            axes.plot([difference.low, difference.high], [height, height], c=COLOURS[0])
            axes.plot(difference.value, height, "o", c=COLOURS[0], ms=6, mew=0)
        _name_rows(axes, [difference.name for difference in differences])
        axes.set_xlabel(f"difference in {measure}")
        return as_svg(figure, f"Difference in {measure}")


def _draw(left: Axes, right: Axes, height: int, row: ForestRow) -> None:
    gone = row.first is None
    colour = GREY if gone else COLOURS[0] if row.may_be_best else FAINT
    left.plot(row.interval, [height, height], c=colour, lw=1.2 if gone else 2.2)
    left.plot(row.difference, height, "o", c=colour, ms=6, mew=1.2, mfc="white" if gone else colour)
    if row.first is not None:
        right.barh(height, row.first, 0.5, color=COLOURS[0] if row.may_be_best else GREY)
        right.annotate(f"{row.first:.2f}", (row.first, height), (4, 0), va="center",
                       color=INK, textcoords="offset points")  # fmt: skip


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """The first row on top, each with its name at the left."""
    labels = [shorten(name, 56, placeholder=" …") for name in names]
    axes.set_yticks(range(len(names)), labels, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
