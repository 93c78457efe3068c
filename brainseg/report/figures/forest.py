"""How far each arm lies behind the leader, with its intervals, and how often it is the best.

The second door to matplotlib; colours and style are those of ``figures``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainseg.report.figures.style import COLOURS, FAINT, GREY, INK, STYLE, as_svg


@dataclass(frozen=True, kw_only=True)
class Branch:
    """An arm to draw; differences are its Dice less the leader's."""

    arm: str
    difference: float
    interval: tuple[float, float]
    bca: tuple[float, float]
    first: float  # share of replicates in which it is the best
    tied: bool  # with the leader, which is tied with itself


def forest(branches: Sequence[Branch], margin: float) -> str:
    """A row an arm, the leader first: difference and intervals, and beside them P(best)."""
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 1 + 0.45 * len(branches)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        left.axvspan(-margin, 0, color=COLOURS[2], alpha=0.09, lw=0)
        left.axvline(0, c=FAINT, lw=1)
        for row, branch in enumerate(branches):
            _draw(left, right, row, branch)
        names = [shorten(branch.arm, 56, placeholder=" …") for branch in branches]
        left.set_yticks(range(len(branches)), names, color=INK)
        left.set_ylim(len(branches) - 0.5, -0.5)
        left.set_xlabel("difference in mean Dice to the leader")
        right.set_xlim(0, 1.22)
        right.set_xticks([0, 0.5, 1])
        right.set_xlabel("P(best)")
        right.tick_params(labelleft=False)
        for axes in (left, right):
            axes.spines["left"].set_visible(False)
        return as_svg(figure, "Difference of every arm to the leader, and how often it is the best")


def _draw(left: Axes, right: Axes, row: int, branch: Branch) -> None:
    colour = COLOURS[0] if branch.tied else FAINT
    if row:  # the leader does not differ from itself
        left.plot(branch.interval, [row - 0.1] * 2, c=colour, lw=2.2)
        left.plot(branch.bca, [row + 0.12] * 2, c=colour, lw=1, ls=(0, (2, 1.2)))
    left.plot(branch.difference, row - 0.1 if row else row, "o", c=colour, ms=6, mew=0)
    right.barh(row, branch.first, 0.5, color=COLOURS[0] if branch.tied else GREY)
    right.annotate(f"{branch.first:.2f}", (branch.first, row), (4, 0), va="center", color=INK,
                   textcoords="offset points")  # fmt: skip


def differences(rows: Sequence[tuple[str, float, float, float]], label: str) -> str:
    """A dot for each (name, difference, low, high), with its interval where it has one."""
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 0.8 + 0.42 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, c=FAINT, lw=1)
        for height, (_, difference, low, high) in enumerate(rows):
            axes.plot([low, high], [height, height], c=COLOURS[0])  # nothing for NaN
            axes.plot(difference, height, "o", c=COLOURS[0], ms=6, mew=0)
        axes.set_yticks(range(len(rows)), [shorten(r[0], 60, placeholder=" …") for r in rows],
                        color=INK)  # fmt: skip
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"difference in {label}")
        axes.spines["left"].set_visible(False)
        return as_svg(figure, f"Difference in {label}")
