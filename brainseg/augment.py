"""How a training slice and its mask are moved at random, the same way whoever asks.

The geometry is drawn from (seed, epoch, sample) and from nothing else, so neither the number of
workers nor the order of calls changes a pixel.

Shapes: H rows, W columns, C channels.
"""

import os
import random
from dataclasses import dataclass, field, fields
from functools import partial
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would ask the network for a newer version

from albumentations import Affine, BasicTransform, Compose, HorizontalFlip, VerticalFlip


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Rotation, shift, zoom and flips of one slice; what enters the frame is 0.

    Safe to share between threads: drawing and applying hold a lock, since a Compose keeps its
    random state. A thread that must not wait takes its own. ValueError for a strength out of range.
    """

    rotate_degrees: float  # drawn from -rotate_degrees..rotate_degrees
    shift: float  # fraction of the side, drawn from -shift..shift for rows and columns
    zoom: float  # one scale for both axes, drawn from 1 - zoom..1 + zoom
    hflip: float  # probability
    vflip: float  # probability
    _steps: Compose = field(init=False, repr=False, compare=False)
    _lock: Lock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _refuse_outside("rotate_degrees", self.rotate_degrees, 0, 180)
        _refuse_outside("shift", self.shift, 0, 1)
        _refuse_outside("zoom", self.zoom, 0, 0.99)
        _refuse_outside("hflip", self.hflip, 0, 1)
        _refuse_outside("vflip", self.vflip, 0, 1)
        object.__setattr__(self, "_steps", _steps(self))
        object.__setattr__(self, "_lock", Lock())

    def __call__(
        self,
        image_HWC: NDArray[np.uint8],
        mask_HW: NDArray[np.uint8],
        *,
        seed: int,
        epoch: int,
        sample: int,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return image and mask moved alike, the mask still 0 and 1; the inputs at no strength."""
        if not self._steps.transforms:
            return image_HWC, mask_HW
        with self._lock:
            self._steps.set_random_state(*_random_state(seed, epoch, sample))
            moved = self._steps(image=np.asarray(image_HWC), mask=np.asarray(mask_HW))
        return moved["image"], moved["mask"]

    def __reduce__(self) -> tuple[Any, ...]:
        strengths = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return partial(Augment, **strengths), ()  # a lock cannot be pickled, five numbers can


def _random_state(seed: int, epoch: int, sample: int) -> tuple[np.random.Generator, random.Random]:
    """One state for all steps: Compose.set_random_seed would give each step the same one.

    With that, both flips draw the same number and always come together (seen in 200 of 200).
    """
    words = np.random.SeedSequence([seed, epoch, sample]).generate_state(2, np.uint64)
    return np.random.default_rng(words[0]), random.Random(int(words[1]))


def _steps(strength: Augment) -> Compose:
    """Only the steps with a strength above 0: the others must not change a pixel."""
    steps: list[BasicTransform] = []
    if strength.rotate_degrees or strength.shift or strength.zoom:
        steps.append(_affine(strength.rotate_degrees, strength.shift, strength.zoom))
    if strength.hflip:
        steps.append(HorizontalFlip(p=strength.hflip))
    if strength.vflip:
        steps.append(VerticalFlip(p=strength.vflip))
    return Compose(steps)


def _affine(rotate_degrees: float, shift: float, zoom: float) -> Affine:
    return Affine(
        rotate=(-rotate_degrees, rotate_degrees),
        translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
        scale=(1 - zoom, 1 + zoom),
        keep_ratio=True,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=0,
        p=1.0,
    )


def _refuse_outside(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        nearest = high if value > high else low
        raise ValueError(f"{name} must lie within {low} and {high}, got {value}; try {nearest}")
