"""One decoded picture, and the rules that hold for PNG, TIFF and JPEG files alike.

Samples are returned as they are written, never scaled: 4 bits stay 0 to 15, and 12 bits in 16 stay
0 to 4095. Alpha is a channel like any other, and changes none.

Shapes: H rows, W columns, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.data.readers.problems import Problem, Refused

MOST_PIXELS = 2**26  # 8192 x 8192; a file of kilobytes can claim any number
MOST_CHANNELS = 4
LARGEST = 1e15  # sums of squares have room in floats of 32 bits; no scanner measures as much

LOSSY = "lossy"  # JPEG: neighbouring pixels are not what was measured
ALPHA = "alpha"  # the last channel says how opaque a pixel is
NARROW = "narrow"  # fewer than 8 bits a sample: dark beside one of 8, which is not scaled either
PADDED = "padded"  # NaN around the picture
TRANSPARENT = "transparent"  # one colour is declared transparent (tRNS), which is passed over


@dataclass(frozen=True)
class Picture:
    samples_HWC: NDArray[Any]  # in the order of the file: red first
    traits: frozenset[str] = frozenset()
    labels_HW: NDArray[Any] | None = None  # places in the palette, if that is not of greys alone
    padded_HW: NDArray[np.bool_] | None = None  # where NaN became black


def of_palette(index_HW: NDArray[Any], colours_N3: NDArray[Any], traits: frozenset[str]) -> Picture:
    """The picture in its palette's colours; ValueError for a pixel beyond the palette."""
    if index_HW.max() >= len(colours_N3):
        raise ValueError(f"a pixel has colour {index_HW.max()} of a palette of {len(colours_N3)}")
    grey = (colours_N3 == colours_N3[:, :1]).all()
    return Picture(np.ascontiguousarray(colours_N3[index_HW]), traits, None if grey else index_HW)


@dataclass(frozen=True)
class Unmeasured:
    """What of a file's numbers is none."""

    faults: int  # infinite, above LARGEST as marks of pixels without a value are, or NaN inside
    black: float | None = None  # what NaN around the picture becomes; None: there is none


def unmeasured(numbers: NDArray[Any], axes: int) -> Unmeasured:
    """NaN is padding if it reaches a corner of the file, whose first ``axes`` are of space."""
    faults = not_finite(numbers)
    corners = tuple(slice(None, None, max(length - 1, 1)) for length in numbers.shape[:axes])
    if not faults or not np.isnan(numbers[corners]).any():
        return Unmeasured(faults)
    if (count := int(np.count_nonzero(np.isnan(numbers)))) == numbers.size:
        return Unmeasured(faults)
    return Unmeasured(faults - count, min(0.0, float(np.nanmin(numbers))))


def not_finite(numbers: NDArray[Any]) -> int:
    """How many are NaN, infinite or above LARGEST, as the mark of pixels without a value is."""
    if numbers.min() >= -LARGEST and numbers.max() <= LARGEST:  # False where one is NaN
        return 0
    return int(np.count_nonzero(~((numbers >= -LARGEST) & (numbers <= LARGEST))))


def require_size(name: str, height: int, width: int) -> None:
    """Refuse more pixels than a slice has, before any is decoded; ValueError for none at all."""
    if height < 1 or width < 1:
        raise ValueError(f"it claims {height} x {width} pixels")
    if height * width > MOST_PIXELS:
        rule = f"a picture must have at most {MOST_PIXELS} pixels"
        fault = f"claims {height} x {width}"
        raise Refused(Problem(name, rule, fault, "check the file, or cut it into parts"))


def require_channels(name: str, channels: int) -> None:
    if channels > MOST_CHANNELS:
        rule = f"an image must have 1 to {MOST_CHANNELS} channels"
        raise Refused(Problem(name, rule, f"has {channels}", "remove channels"))


def require_upright(name: str, kind: str, orientation: object) -> None:
    """``orientation`` as in TIFF's tag 274, which EXIF shares: 1 is upright."""
    if orientation != 1:
        rule, fault = f"a {kind} file must be stored upright", "asks to be rotated (tag 274)"
        raise Refused(Problem(name, rule, fault, "save it the way it should be shown"))


def require_one_slice(name: str, kind: str, holds: str) -> None:
    """``holds``: what there is beside the slice; "" if it is alone."""
    if holds:
        rule = f"a {kind} file must hold one slice"
        raise Refused(Problem(name, rule, f"holds {holds}", "save each slice as a file"))
