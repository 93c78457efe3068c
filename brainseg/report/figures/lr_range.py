"""The curve of a learning-rate range test."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from brainseg.report.figures.style import COLOURS, INK, STYLE


def range_curve(
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
) -> bytes:
    """The loss of a range test over the learning rate, rates marked by name, as a PNG file."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(lrs, losses, ".", c="#aeb6c1", ms=5, mew=0, label="loss of a step")
        axes.plot(lrs, smoothed, c=INK, label="smoothed")
        room = max(max(smoothed) - min(smoothed), 1e-6)  # what diverged far above is cut off
        axes.set_ylim(min(losses) - 0.05 * room, max(smoothed) + 0.2 * room)
        axes.set(xscale="log", xlim=(lrs[0], lrs[-1]), xlabel="learning rate", ylabel="loss")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()
        axes.legend(frameon=False, loc="lower left")
        _mark_rates(axes, marks)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=200)
    return buffer.getvalue()


def _mark_rates(axes: Axes, marks: Mapping[str, float]) -> None:
    """A line at each rate, the range between shaded; the lowest is named to its left."""
    rates = sorted(marks.values())
    if rates:
        axes.axvspan(rates[0], rates[-1], color=COLOURS[0], alpha=0.07, lw=0)
    for (name, rate), colour in zip(marks.items(), COLOURS, strict=False):
        left = rate == rates[0]
        axes.axvline(rate, c=colour, lw=1.2, ls=(0, (4, 2)))
        axes.annotate(
            f"{name} {rate:.2g}",
            (rate, 1),
            (-3 if left else 3, 5),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if left else "left",
            color=colour,
            weight="bold",
        )
