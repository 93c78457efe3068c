"""Curves, dots and outlines of a sweep as SVG that stands in a page: the door to matplotlib.

The best few trials have a colour each, the same in every figure; all others are grey.
Shapes: K slices, H rows, W columns.
"""

import base64
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO, StringIO
from math import ceil, sqrt
from textwrap import shorten, wrap
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito (2008)
TRUTH, PREDICTION = "#56B4E9", "#E69F00"  # apart for the colour-blind, both bright on grey
INK, FAINT, GREY = "#1b1f24", "#6b7280", "#c3c8d0"
STYLE: dict[Any, Any] = {  # of matplotlib
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in the name of a weights file is a dollar
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",  # text stays text: small, sharp, can be searched
}


@dataclass(frozen=True)
class Curve:
    """One trial to draw."""

    trial: str
    arm: str
    epochs: pd.DataFrame  # a row an epoch: epoch, dice, train_loss, val_loss, lr
    best_epoch: int
    patients: pd.DataFrame  # a row a validation patient: patient, dice
    loss: str = ""  # its kind; losses of two kinds share no scale
    colour: str = GREY


def dice_curves(best: Sequence[Curve], others: Sequence[Curve]) -> str:
    """Validation Dice an epoch of every trial; the best are labelled at the side."""
    hover = {}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.3), layout="constrained")
        axes = figure.subplots()
        for n, curve in enumerate([*others, *reversed(best)]):
            hover[f"curve-{n}"] = f"{curve.trial}: {curve.arm}"
            _line(axes, curve, gid=f"curve-{n}")
        _limit([*best, *others], axes)
        axes.set_ylabel("validation Dice")
        _label_ends(axes, best)
        return as_svg(figure, "Validation Dice per epoch of every trial", hover)


def loss_curves(best: Sequence[Curve]) -> str:
    """Loss on train and validation, a column a trial, with the learning rate underneath."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.5), layout="constrained")
        columns = len(COLOURS)
        grid = figure.subplots(2, columns, sharex=True, squeeze=False, height_ratios=(3, 1))
        if len({curve.loss for curve in best}) == 1:
            for axes in grid[0, 1 : len(best)]:
                axes.sharey(grid[0, 0])
                axes.tick_params(labelleft=False)
        for curve, axes in zip(best, grid.T, strict=False):
            _losses(axes[0], curve)
            _rate(axes[1], curve)
        for axes in grid[:, len(best) :].flat:
            axes.set_axis_off()
        grid[0, 0].legend(frameon=False, fontsize=8, handlelength=1.6)
        grid[0, 0].set_ylabel("loss")
        grid[1, 0].set_ylabel("learning\nrate")
        return as_svg(figure, "Train and validation loss of the best trials, and learning rate")


def learning_curves(arms: Sequence[Sequence[Curve]]) -> str:
    """Dice, IoU and loss an epoch, a column an arm and a line a seed; train dashed."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 6), layout="constrained")
        columns = max(len(arms), 3)
        grid = figure.subplots(3, columns, sharex=True, sharey="row", squeeze=False)
        for curves, axes in zip(arms, grid.T, strict=False):
            for curve in curves:
                _learning(axes, curve)
            axes[0].set_title("\n".join(wrap(curves[0].arm, 24)[:3]), color=INK)
            axes[2].set_xlabel("epoch")
            axes[2].xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axes in grid[:, len(arms) :].flat:
            axes.set_axis_off()
        for axes, name in zip(grid[:, 0], ("Dice", "IoU", "loss"), strict=True):
            axes.set_ylabel(name)
        return as_svg(figure, "Dice, IoU and loss per epoch of every model")


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


def patient_dots(best: Sequence[Curve]) -> str:
    """Dice of every validation patient, a row a trial."""
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
        axes.set_yticks(range(len(best)), [_name(curve) for curve in best], color=INK)
        axes.set_ylim(len(best) - 0.5, -0.5)
        lowest = min(curve.patients["dice"].min() for curve in best)
        axes.set_xlim(max(lowest - 0.05, -0.02), 1.02)
        axes.set_xlabel("Dice of one validation patient")
        axes.spines["left"].set_visible(False)
        return as_svg(figure, "Dice of every validation patient under the best trials", hover)


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


@dataclass(frozen=True)
class Tile:
    """A slice to look at: one or more of its channels, the mask outlined on the first."""

    caption: str
    planes: Sequence[NDArray[Any]]  # each H,W
    mask_HW: NDArray[np.uint8] | None = None


def volume_histogram(volumes: Mapping[str, float], unit: str) -> str:
    """Patients by the volume of their tumour, each one a tick on the axis."""
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3), layout="constrained")
        hover = _volume_bars(figure.subplots(), volumes, unit)
        return as_svg(figure, "Histogram of tumour volume over patients", hover)


def contact_sheet(volumes: Mapping[str, float], unit: str, tiles: Sequence[Tile]) -> bytes:
    """The histogram over rows of slices, as a PNG file."""
    columns = 4
    rows = ceil(len(tiles) / columns)
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure = Figure(figsize=(12, 3 + 3.3 * rows), layout="constrained")
        grid = figure.add_gridspec(1 + rows, columns, height_ratios=[2.6] + [3.3] * rows)
        _volume_bars(figure.add_subplot(grid[0, :]), volumes, unit)
        for n, tile in enumerate(tiles):
            _draw_tile(figure.add_subplot(grid[1 + n // columns, n % columns]), tile)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def slice_tile(tile: Tile) -> str:
    """The slice as an SVG element that holds its pixels."""
    picture_HW = _mosaic(tile.planes)
    rows, columns = picture_HW.shape
    buffer = BytesIO()
    imsave(buffer, picture_HW, cmap="gray", vmin=0, vmax=1, format="png")
    picture = base64.b64encode(buffer.getvalue()).decode()
    border = "" if tile.mask_HW is None else outline(_thinned(tile.mask_HW))
    return (
        f'<svg viewBox="0 0 {columns} {rows}" role="img" aria-label="slice">'
        f'<image width="{columns}" height="{rows}" href="data:image/png;base64,{picture}"/>'
        f'<path d="{border}" stroke="{TRUTH}" stroke-width="1.5"/></svg>'
    )


def quartile_bar(low: float, median: float, high: float, mean: float) -> str:
    """A bar over the middle half, a line at the median, a dot at the mean; from 0 to 1."""
    return (
        '<svg class="quartiles" viewBox="0 0 100 10">'
        '<rect y="4.6" width="100" height=".8" fill="#d5d9df"/>'
        f'<rect x="{100 * low:.1f}" y="2" width="{100 * (high - low):.1f}" height="6" '
        f'fill="#aeb6c1"/><rect x="{100 * median - 0.5:.1f}" width="1" height="10" fill="{INK}"/>'
        f'<circle cx="{100 * mean:.1f}" cy="5" r="2" fill="#fff" stroke="{INK}"/></svg>'
    )


def slice_panel(
    image_HW: NDArray[np.uint8], truth_HW: NDArray[np.uint8], prediction_HW: NDArray[np.uint8]
) -> str:
    """The slice, and the slice again with both outlines; the picture is stored once."""
    rows, columns = image_HW.shape
    bright = max(float(np.percentile(image_HW, 99.5)), 1.0)
    buffer = BytesIO()
    imsave(buffer, np.clip(image_HW / bright, 0, 1), cmap="gray", vmin=0, vmax=1, format="png")
    picture = base64.b64encode(buffer.getvalue()).decode()
    name = f"slice-{crc32(buffer.getvalue()):x}"
    return (
        f'<svg viewBox="0 0 {2 * columns} {rows}" role="img" aria-label="slice and outlines">'
        f'<image id="{name}" width="{columns}" height="{rows}" '
        f'href="data:image/png;base64,{picture}"/>'
        f'<g transform="translate({columns})"><use href="#{name}"/>'
        f'<path d="{outline(truth_HW)}" stroke="{TRUTH}" stroke-width="3"/>'
        f'<path d="{outline(prediction_HW)}" stroke="{PREDICTION}" stroke-width="1.5"/></g></svg>'
    )


def outline(mask_HW: NDArray[np.uint8]) -> str:
    """The border of a mask as an SVG path along the edges of its pixels."""
    padded = np.pad(mask_HW > 0, 1)
    below = np.argwhere(padded[1:] != padded[:-1])  # an edge between a pixel and the one above
    beside = np.argwhere(padded[:, 1:] != padded[:, :-1])
    across = [f"M{column - 1} {row}h1" for row, column in below]
    down = [f"M{column} {row - 1}v1" for row, column in beside]
    return "".join(across + down)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """``heights`` moved as little as keeps every two at least ``gap`` apart, their order kept."""
    order = sorted(range(len(heights)), key=lambda n: heights[n])
    groups: list[tuple[float, int]] = []  # (middle, how many) of labels that touch
    for n in order:
        groups.append((heights[n], 1))
        while len(groups) > 1 and _touch(groups[-2], groups[-1], gap):
            (low, few), (high, more) = groups[-2:]
            groups[-2:] = [((low * few + high * more) / (few + more), few + more)]
    placed = [
        middle + gap * (k - (count - 1) / 2) for middle, count in groups for k in range(count)
    ]
    return [placed[order.index(n)] for n in range(len(heights))]


def _touch(low: tuple[float, int], high: tuple[float, int], gap: float) -> bool:
    return high[0] - low[0] < gap * (low[1] + high[1]) / 2


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


def _volume_bars(axes: Axes, volumes: Mapping[str, float], unit: str) -> dict[str, str]:
    """Bars, and a tick for each patient; returns what to show over the ticks."""
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
    axes.set_xlabel(f"tumour of one patient ({unit})")
    axes.set_ylabel("patients")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xlim(left=0)
    return hover


def _draw_tile(axes: Axes, tile: Tile) -> None:
    picture_HW = _mosaic(tile.planes)
    axes.imshow(picture_HW, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if tile.mask_HW is not None and tile.mask_HW.any():
        axes.contour(_thinned(tile.mask_HW), levels=[0.5], colors=TRUTH, linewidths=1)
    axes.set_axis_off()
    axes.set_title("\n".join(wrap(tile.caption, 42)[:4]), fontsize=7.5, color=INK)


def _mosaic(planes: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Planes of one size in as many rows as columns; the last places stay black."""
    side = ceil(sqrt(len(planes)))
    grey = [_grey(plane_HW) for plane_HW in planes]
    grey += [np.zeros_like(grey[0])] * (-len(grey) % side)
    return np.vstack([np.hstack(grey[k : k + side]) for k in range(0, len(grey), side)])


def _grey(image_HW: NDArray[Any]) -> NDArray[np.float64]:
    """Grey levels from 0 to 1; the brightest and the darkest 0.5 % are cut off."""
    pixels = np.nan_to_num(_thinned(image_HW).astype(np.float64))
    low, high = np.percentile(pixels, [0.5, 99.5])
    if high <= low:  # little is lit, or all, as in a mask
        low, high = min(float(pixels.min()), 0.0), max(float(pixels.max()), 1.0)
    grey: NDArray[np.float64] = np.clip((pixels - low) / (high - low), 0, 1)
    return grey


def _thinned(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    """Every second or third pixel of a large slice: a page holds many."""
    step = max(1, max(pixels_HW.shape) // 320)
    return pixels_HW[::step, ::step]


def _line(axes: Axes, curve: Curve, gid: str) -> None:
    """Draw one curve, with a dot where it ended, or at its best epoch if it is one of the best."""
    epochs, best = curve.epochs, curve.colour != GREY
    width, layer = (1.8, 3) if best else (1.0, 2)
    axes.plot(epochs["epoch"], epochs["dice"], c=curve.colour, lw=width, zorder=layer, gid=gid)
    dot = epochs[epochs["epoch"] == curve.best_epoch] if best else epochs.tail(1)
    size = 5 if best else 2.5
    axes.plot(dot["epoch"], dot["dice"], "o", c=curve.colour, ms=size, mew=0, zorder=layer)


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name each curve at the side, in the order of their best scores, with a line to its end."""
    low, high = axes.get_ylim()
    scores = [float(curve.epochs["dice"].max()) for curve in curves]
    heights = spread(scores, gap=0.065 * (high - low))
    lift = min(0.0, high - max(heights, default=high))
    for curve, score, height in zip(curves, scores, heights, strict=True):
        end = curve.epochs.iloc[-1]
        axes.annotate(
            f"{score:.3f} · {_name(curve)}",
            (end["epoch"], end["dice"]),
            (1.04, height + lift),
            textcoords=("axes fraction", "data"),
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": curve.colour,
                "lw": 0.9,
                "alpha": 0.7,
                "linestyle": (0, (1, 1.5)),
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )


def _losses(axes: Axes, curve: Curve) -> None:
    epoch = curve.epochs["epoch"]
    axes.plot(epoch, curve.epochs["train_loss"], c=FAINT, lw=1.1, ls=(0, (3, 1.5)), label="train")
    axes.plot(epoch, curve.epochs["val_loss"], c=curve.colour, label="validation")
    axes.set_title("\n".join([curve.trial, *wrap(curve.arm, 24)[:2]]), color=INK)


def _learning(axes: NDArray[Any], curve: Curve) -> None:
    """One trial's Dice, IoU and loss on three axes."""
    epochs = curve.epochs
    axes[0].plot(epochs["epoch"], epochs["dice"], c=curve.colour, lw=1.2)
    axes[1].plot(epochs["epoch"], epochs["iou"], c=curve.colour, lw=1.2)
    axes[2].plot(epochs["epoch"], epochs["val_loss"], c=curve.colour, lw=1.2)
    axes[2].plot(epochs["epoch"], epochs["train_loss"], c=FAINT, lw=1.0, ls=(0, (3, 1.5)))


def _rate(axes: Axes, curve: Curve) -> None:
    rate = curve.epochs["lr"]
    axes.fill_between(curve.epochs["epoch"], rate, color="#dfe3e8", lw=0)
    axes.plot(curve.epochs["epoch"], rate, c=FAINT, lw=1)
    axes.set_yticks([])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"epoch (highest rate {rate.max():.2g})", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _middle_half(axes: Axes, row: int, dice: pd.Series) -> None:
    """A bar over the middle half of the patients, a line at the median, a diamond at the mean."""
    low, median, high = dice.quantile([0.25, 0.5, 0.75])
    axes.barh(row, high - low, 0.62, low, color="#eceef1", zorder=1)
    axes.vlines(median, row - 0.31, row + 0.31, color=INK, lw=1.4, zorder=2.5)
    axes.plot(dice.mean(), row, "D", ms=5.5, mfc="white", mec=INK, mew=1.1, zorder=4)


def _limit(curves: Sequence[Curve], axes: Axes) -> None:
    """Give the upper curves room: first epochs far below them are cut off."""
    dice = pd.concat([curve.epochs["dice"] for curve in curves])
    highest = float(dice.max())
    room = max(highest - float(dice.quantile(0.1)), 0.05)
    axes.set_ylim(max(-0.01, highest - 1.25 * room), highest + 0.08 * room)
    axes.set_xlim(0.8, max(curve.epochs["epoch"].max() for curve in curves) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.set_xlabel("epoch")


def _name(curve: Curve) -> str:
    return f"{curve.trial} · {shorten(curve.arm, 44, placeholder=' …')}"


def as_svg(figure: Figure, title: str, hover: Mapping[str, str] | None = None) -> str:
    """The figure as an `<svg>` element; ``hover`` gives parts, by their gid, a text to show."""
    buffer = StringIO()
    with rc_context({"svg.hashsalt": title}), warnings.catch_warnings():
        # The browser has its own fonts; that matplotlib's lacks a sign does not matter.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", transparent=True,
                       metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # fmt: skip
    text = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r'<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    for name, words in (hover or {}).items():
        text = text.replace(f'<g id="{name}">', f"<g><title>{escape(words)}</title>", 1)
    return text
