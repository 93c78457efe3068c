"""Slices as small pictures, and the outlines of their masks.

Shapes: H rows, W columns.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imsave
from numpy.typing import NDArray

from brainseg.report.figures.style import INK, TRUTH


@dataclass(frozen=True)
class Tile:
    """A slice to look at: one or more of its channels side by side, the mask on the first."""

    caption: str
    channels: Sequence[NDArray[Any]]  # each H,W
    mask_HW: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Grey pixels that a page can hold."""

    width: int
    height: int
    address: str  # a data URI, which holds the pixels as PNG


def picture_of_tile(tile: Tile) -> Picture:
    return _picture(_mosaic(tile.channels))


def outline_of_tile(tile: Tile) -> str:
    """As ``outline``; empty without a mask."""
    return "" if tile.mask_HW is None else outline(_thinned(tile.mask_HW))


def picture_of_slice(image_HW: NDArray[np.uint8]) -> Picture:
    """The brightest 0.5 % of the pixels are white."""
    white = max(float(np.percentile(image_HW, 99.5)), 1.0)
    return _picture(np.clip(image_HW / white, 0, 1))


def outline(mask_HW: NDArray[np.uint8]) -> str:
    """The border of a mask as an SVG path along the edges of its pixels."""
    padded = np.pad(mask_HW > 0, 1)
    below = np.argwhere(padded[1:] != padded[:-1])  # an edge between a pixel and the one above
    beside = np.argwhere(padded[:, 1:] != padded[:, :-1])
    across = [f"M{column - 1} {row}h1" for row, column in below]
    down = [f"M{column} {row - 1}v1" for row, column in beside]
    return "".join(across + down)


def draw_tile(axes: Axes, tile: Tile) -> None:
    axes.imshow(_mosaic(tile.channels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if tile.mask_HW is not None and tile.mask_HW.any():
        axes.contour(_thinned(tile.mask_HW), levels=[0.5], colors=TRUTH, linewidths=1)
    axes.set_axis_off()
    axes.set_title("\n".join(wrap(tile.caption, 42)[:4]), fontsize=7.5, color=INK)


def _picture(grey_HW: NDArray[np.float64]) -> Picture:
    buffer = BytesIO()
    imsave(buffer, grey_HW, cmap="gray", vmin=0, vmax=1, format="png")
    pixels = base64.b64encode(buffer.getvalue()).decode()
    height, width = grey_HW.shape
    return Picture(width=width, height=height, address=f"data:image/png;base64,{pixels}")


def _mosaic(channels: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Channels of one size in as many rows as columns; the last places stay black."""
    side = ceil(sqrt(len(channels)))
    grey = [_grey(channel_HW) for channel_HW in channels]
    grey += [np.zeros_like(grey[0])] * (-len(grey) % side)
    return np.vstack([np.hstack(grey[k : k + side]) for k in range(0, len(grey), side)])


def _grey(image_HW: NDArray[Any]) -> NDArray[np.float64]:
    """Grey levels from 0 to 1; the brightest and the darkest 0.5 % are cut off."""
    pixels = np.nan_to_num(_thinned(image_HW).astype(np.float64))
    low, high = np.percentile(pixels, [0.5, 99.5])
    if high <= low:  # almost all pixels are alike, as in a mask
        low, high = min(float(pixels.min()), 0.0), max(float(pixels.max()), 1.0)
    grey: NDArray[np.float64] = np.clip((pixels - low) / (high - low), 0, 1)
    return grey


def _thinned(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    """Every second or third pixel of a large slice: a page holds many."""
    step = max(1, max(pixels_HW.shape) // 320)
    return pixels_HW[::step, ::step]
