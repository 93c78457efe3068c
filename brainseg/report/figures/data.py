"""Pictures of a data set: a histogram of tumour volumes, and a contact sheet of slices."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from brainseg.report.figures.slices import Tile, draw_tile
from brainseg.report.figures.style import COLOURS, STYLE, Svg, as_svg


def volume_histogram(volumes: Mapping[str, float], unit: str) -> Svg:
    """How many patients have tumours of which volume; each patient is a tick on the axis."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3), layout="constrained")
        hover = _volume_bars(figure.subplots(), volumes, unit)
        return as_svg(figure, "Histogram of tumour volume over patients", hover)


def contact_sheet(volumes: Mapping[str, float], unit: str, tiles: Sequence[Tile]) -> bytes:
    """The histogram above rows of slices, as a PNG file."""
    columns = 4
    rows = ceil(len(tiles) / columns)
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure = Figure(figsize=(12, 3 + 3.3 * rows), layout="constrained")
        grid = figure.add_gridspec(1 + rows, columns, height_ratios=[2.6] + [3.3] * rows)
        _volume_bars(figure.add_subplot(grid[0, :]), volumes, unit)
        for n, tile in enumerate(tiles):
            draw_tile(figure.add_subplot(grid[1 + n // columns, n % columns]), tile)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _volume_bars(axes: Axes, volumes: Mapping[str, float], unit: str) -> dict[str, str]:
    """Bars, and a tick per patient; returns the text to show over each tick, by its gid."""
    values = list(volumes.values())
    if values:
        edges = [*MaxNLocator(12).tick_values(0, max(*values, 1e-9))]
        axes.hist(values, bins=edges, color="#aeb6c1", rwidth=0.94)
    hover = {}
    for n, (patient, volume) in enumerate(volumes.items()):
        axes.plot(volume, -0.02, "|", c=COLOURS[0], ms=7, clip_on=False, gid=f"patient-{n}",
                  transform=axes.get_xaxis_transform())  # fmt: skip
        hover[f"patient-{n}"] = f"{patient}: {volume:,.4g} {unit}"
    axes.tick_params(axis="x", pad=8)
    axes.set_xlabel(f"tumour volume of a patient ({unit})")
    axes.set_ylabel("patients")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xlim(left=0)
    return hover
