"""Predicted against true volumes: the plot of Bland and Altman, a dot per patient."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from brainseg.evaluation.agreement import Agreement, Bound
from brainseg.report.figures.curves import spread
from brainseg.report.figures.style import COLOURS, FAINT, INK, STYLE, Svg, as_svg


@dataclass(frozen=True, kw_only=True)
class PatientVolume:
    """A patient to draw; volumes in one unit."""

    patient: str
    true: float
    predicted: float


def bland_altman(volumes: Sequence[PatientVolume], agreement: Agreement | None, unit: str) -> Svg:
    """Predicted less true volume over the mean of both; lines for bias and limits of agreement.

    Bands are their 95 % intervals. Without an agreement, as below 3 patients, there are dots alone.
    """
    hover = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, c=FAINT, lw=1, ls=(0, (1, 2)))
        for n, volume in enumerate(volumes):
            x, y = (volume.true + volume.predicted) / 2, volume.predicted - volume.true
            gid = f"patient-{n}"
            axes.plot(x, y, "o", c=COLOURS[0], ms=5, mew=0, alpha=0.75, gid=gid, clip_on=False)
            sizes = f"true {volume.true:,.4g}, predicted {volume.predicted:,.4g} {unit}"
            hover[gid] = f"{volume.patient}: {sizes}"
        axes.margins(y=0.12)
        if agreement:
            _draw_lines(axes, agreement)
        axes.set_xlabel(f"mean of true and predicted volume of a patient ({unit})")
        axes.set_ylabel(f"predicted less true ({unit})")
        axes.set_xlim(left=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        return as_svg(figure, "Difference of predicted and true volume over their mean", hover)


def _draw_lines(axes: Axes, agreement: Agreement) -> None:
    """Bias and limits across the plot, named at the side."""
    bounds = {
        "lower limit": agreement.lower,
        "bias": agreement.bias,
        "upper limit": agreement.upper,
    }
    for name, bound in bounds.items():
        colour = INK if name == "bias" else COLOURS[1]
        axes.axhspan(bound.low, bound.high, color=colour, alpha=0.08, lw=0)
        axes.axhline(bound.value, c=colour, lw=1.2, ls="-" if name == "bias" else (0, (5, 2)))
    low, high = axes.get_ylim()
    heights = spread([bound.value for bound in bounds.values()], gap=0.1 * (high - low))
    for (name, bound), height in zip(bounds.items(), heights, strict=True):
        axes.annotate(
            _label(name, bound), (1, height), (6, 0), va="center", color=INK, fontsize=8,
            xycoords=("axes fraction", "data"), textcoords="offset points", annotation_clip=False,
        )  # fmt: skip


def _label(name: str, bound: Bound) -> str:
    return f"{name} {bound.value:,.3g}\n({bound.low:,.3g} to {bound.high:,.3g})"
