"""Intensities that are no part of the picture: a few voxels far away, padding, an offset.

The rest is judged by two of its percentiles, as in Tukey's fences (Exploratory Data Analysis, 1977,
chapter 2), with 0 among them unless the picture is stored with an offset:

    outliers  at most FEW of all, further away than a multiple of the width of the rest
    padding   many voxels of one value at an end, as far from the middle 80 % of all others;
              with the blends that resampling leaves between them
    an offset all else is so far above 0 that it would share fewer than 30 of 256 levels

The multiples are BELOW 0, where a scan has nothing to show, and ABOVE, where tumours are. Nothing
is left out that would not cost the rest grey levels: pictures of few values stay whole.
"""

from bisect import bisect_left, bisect_right  # numpy's would copy all voxels as floats
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEW = 0.005  # share of the voxels, at least 10 of them
BELOW, ABOVE, OFFSET = 1.0, 3.0, 7.5  # times the width of the rest; 255 / (1 + 7.5) is 30 levels
BLENDS = 0.1  # share of the rest that may lie between it and its padding
ROUNDING = 0.001  # of its value: a picture that is narrower shows rounding, nothing else
SMALLEST = 1e-30  # width of a picture that is not constant

Values = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """The intensities that set the scale, rising."""

    rising: Values
    lowest: float | None = None  # what is black where 0 is not; None: 0, or less

    @cached_property
    def body(self) -> Values:
        """All but the background of 0."""
        if self.lowest is not None:
            return self.rising
        start, stop = bisect_left(self.rising, 0), bisect_right(self.rising, 0)
        if start == 0:
            return self.rising[stop:]
        return np.concatenate([self.rising[:start], self.rising[stop:]])

    @property
    def black(self) -> float:
        """What becomes 0."""
        return min(0.0, float(self.rising[0])) if self.lowest is None else self.lowest

    def core(self, left_out: int) -> tuple[float, float]:
        """The ends of the body once so many of its values are left out at each; 0 is inside."""
        low, high = float(self.body[left_out]), float(self.body[-1 - left_out])
        return (min(low, 0.0), max(high, 0.0)) if self.lowest is None else (low, high)

    def between(self, low: float, high: float) -> "Picture":
        start, stop = bisect_left(self.rising, low), bisect_right(self.rising, high)
        return replace(self, rising=self.rising[start:stop])


def without_extremes(values: Values) -> Picture:
    """The picture in all intensities of a patient's channel."""
    picture = Picture(np.sort(values, axis=None))
    while True:
        rest = _without_padding(_without_outliers(picture))
        if rest.lowest is None and _far_above_zero(rest):
            low, high = _middle(replace(rest, rising=rest.body, lowest=0.0))
            rest = Picture(rest.body, lowest=low - (high - low))
        if len(rest.rising) == len(picture.rising) and rest.lowest == picture.lowest:
            return rest
        picture = rest


def _few(count: int) -> int:
    return min(max(int(FEW * count), 10), count // 10)


def _middle(picture: Picture) -> tuple[float, float]:
    return picture.core(int(BLENDS * len(picture.body)))


def _without_outliers(picture: Picture) -> Picture:
    if not len(picture.body):
        return picture
    rest = picture.between(*_fences(*picture.core(_few(len(picture.body)))))
    return rest if _cost(picture, rest) else picture


def _fences(low: float, high: float) -> tuple[float, float]:
    return low - BELOW * (high - low), high + ABOVE * (high - low)


def _without_padding(picture: Picture) -> Picture:
    """Without the value at either end that many voxels hold, and that is far from all others."""
    few = _few(len(picture.body))
    low, high = picture.rising[few], picture.rising[-1 - few]
    start, stop = bisect_right(picture.rising, low), bisect_left(picture.rising, high)
    at_low = start - bisect_left(picture.rising, low) > few and low < 0
    at_high = bisect_right(picture.rising, high) - stop > few
    for first, last in ((start, stop), (start, None), (0, stop)):
        if (first and not at_low) or (last is not None and not at_high):
            continue
        rest = replace(picture, rising=picture.rising[first:last])
        if len(rest.body) <= few:
            continue
        core = _middle(rest)
        fence = _fences(*core)
        lower = fence[0] if first else -np.inf
        upper = np.inf if last is None else fence[1]
        if (first and low >= lower) or (last is not None and high <= upper):
            continue
        for kept in (picture.between(lower, upper), rest):  # first without the blends
            kept = _without_outliers(kept)
            if _cost(picture, kept):
                return kept
    return picture


def _far_above_zero(picture: Picture) -> bool:
    """Whether a picture without negative values is stored with an offset."""
    if picture.rising[0] < 0 or len(picture.body) <= _few(len(picture.rising)):
        return False
    low, high = _middle(replace(picture, rising=picture.body, lowest=0.0))
    width = high - low
    return low > OFFSET * width and width > ROUNDING * high


def _cost(whole: Picture, rest: Picture) -> bool:
    """Whether what is left out would make neighbouring values of the rest one grey level.

    A rest of one value is no picture, and nothing is left out for it.
    """
    if len(rest.rising) in (0, len(whole.rising)):
        return False
    few = _few(len(rest.rising))
    held = rest.rising[few : len(rest.rising) - few]
    alone = _steps(held, rest.black, float(rest.rising[-1]))
    return alone > 0 and alone - _steps(held, whole.black, float(whole.rising[-1])) >= 0.5


def _steps(rising: Values, low: float, high: float) -> float:
    """Grey levels between neighbouring values when low to high becomes 256, at most 1 for each."""
    if high - low < SMALLEST:
        return 0.0
    apart = np.diff(rising.astype(np.float64)) * (255 / (high - low))
    return float(np.minimum(apart, 1).sum())
