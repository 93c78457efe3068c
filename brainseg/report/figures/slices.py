"""Slices with true and predicted tumour outlined."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from textwrap import wrap
from typing import Any
from zlib import crc32

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imsave
from numpy.typing import NDArray

from brainseg.report.figures.style import INK, PREDICTION, TRUTH


@dataclass(frozen=True)
class Tile:
    """A slice to look at: one or more of its channels, the mask outlined on the first."""

    caption: str
    planes: Sequence[NDArray[Any]]  # each H,W
    mask_HW: NDArray[np.uint8] | None = None


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


def draw_tile(axes: Axes, tile: Tile) -> None:
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
