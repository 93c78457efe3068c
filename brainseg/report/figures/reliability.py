"""Reliability diagram: of the pixels given a probability, how many are tumour?"""

from collections.abc import Mapping

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from brainseg.evaluation.calibration import Bins, ece, reliability_table
from brainseg.report.figures.style import COLOURS, FAINT, STYLE, Svg, as_svg


def reliability_diagram(pixels: Mapping[str, Bins]) -> Svg:
    """A line per set of pixels, by its name, and beside it how many pixels are in each bin.

    On the diagonal a probability means what it says; below it a network is too sure of tumour.
    """
    hover: dict[str, str] = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4), layout="constrained")
        shares, counts = figure.subplots(1, 2, width_ratios=(1.2, 1))
        shares.plot([0, 1], [0, 1], c=FAINT, lw=1, ls=(0, (1, 2)))
        for n, (name, bins) in enumerate(pixels.items()):
            _draw(shares, counts, n, name, bins, hover)
        shares.set_xlim(-0.02, 1.02)
        shares.set_ylim(-0.02, 1.02)
        shares.set_ylabel("share that is tumour")
        shares.legend(frameon=False, fontsize=8, loc="upper left")
        if any(bins[:, 0].any() for bins in pixels.values()):
            counts.set_yscale("log")
        counts.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        counts.minorticks_off()
        counts.set_ylabel("pixels")
        for axes in (shares, counts):
            axes.set_xlabel("probability of tumour")
        return as_svg(figure, "Share of tumour among pixels over their probability", hover)


def _draw(shares: Axes, counts: Axes, n: int, name: str, bins: Bins, hover: dict[str, str]) -> None:
    table = reliability_table(bins)
    filled = table[table["pixels"] > 0]
    colour = COLOURS[n % len(COLOURS)]
    error = f"ECE {float(ece(bins)):.4f}" if len(filled) else "no pixel"
    shares.plot(filled["probability"], filled["tumour"], "-", c=colour, label=f"{name}: {error}")
    for row, (x, y, count) in enumerate(
        filled[["probability", "tumour", "pixels"]].itertuples(index=False)
    ):
        gid = f"bin-{n}-{row}"
        shares.plot(x, y, "o", c=colour, ms=5, mew=0, gid=gid)
        hover[gid] = f"{name}: probability {x:.3f}, tumour {y:.3f}, {count:,} pixels"
    edges = [*table["low"], 1.0]
    counts.stairs(table["pixels"], edges, color=colour, lw=1.4)
