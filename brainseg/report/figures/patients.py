"""A dot per patient: how a trial's Dice varies over patients."""

from collections.abc import Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainseg.report.figures.curves import Curve, label_of
from brainseg.report.figures.style import INK, STYLE, Svg, as_svg


def patient_dots(best: Sequence[Curve]) -> Svg:
    """Dice of every validation patient, a row per trial."""
    hover = {}
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 0.6 + 0.62 * len(best)), layout="constrained")
        axes = figure.subplots()
        for row, curve in enumerate(best):
            _middle_half(axes, row, curve.patients["dice"])
            for n, (name, dice) in enumerate(curve.patients[["patient", "dice"]].to_numpy()):
                # The golden ratio spreads any number of dots evenly, and the same way every time.
                height = row + 0.56 * ((n * 0.618034) % 1 - 0.5)
                gid = f"patient-{row}-{n}"
                axes.plot(dice, height, "o", ms=4, mew=0, alpha=0.75, c=curve.colour, gid=gid)
                hover[gid] = f"{name}: {dice:.3f}"
        axes.set_yticks(range(len(best)), [label_of(curve) for curve in best], color=INK)
        axes.set_ylim(len(best) - 0.5, -0.5)
        lowest = min(curve.patients["dice"].min() for curve in best)
        axes.set_xlim(max(lowest - 0.05, -0.02), 1.02)
        axes.set_xlabel("Dice of one validation patient")
        axes.spines["left"].set_visible(False)
        return as_svg(figure, "Dice of every validation patient for the best trials", hover)


def _middle_half(axes: Axes, row: int, dice: pd.Series) -> None:
    """A bar over the middle half of the patients, a line at the median, a diamond at the mean."""
    low, median, high = dice.quantile([0.25, 0.5, 0.75])
    axes.barh(row, high - low, 0.62, low, color="#eceef1", zorder=1)
    axes.vlines(median, row - 0.31, row + 0.31, color=INK, lw=1.4, zorder=2.5)
    axes.plot(dice.mean(), row, "D", ms=5.5, mfc="white", mec=INK, mew=1.1, zorder=4)
