"""How a training slice and its mask are moved at random, the same way whoever asks.

Turning, shifting, zooming and flipping are one warp of image and mask together, which equals what
albumentations' Affine and flips would do one after the other. Whatever else a policy needs is
declared with albumentations' own transforms (``Augment.then``), applied after it.

All is drawn from (seed, epoch, sample) and from nothing else, so neither the number of workers
nor the order of calls changes a pixel.

Shapes: H rows, W columns, C channels, D = C + 1: the channels of an image and, last, its mask.
"""

import random
import threading
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.config.hyperparameters import Augmentation
from brainseg.config.schema import leaf_of, require_legal
from brainseg.process import environment

# Its import would ask the network for a newer version.
with environment(NO_ALBUMENTATIONS_UPDATE="1"):
    from albumentations import BasicTransform, Compose

Pixels = NDArray[np.uint8]
Strengths = tuple[float, float, float, float, float]

BLOCK = 1024  # samples drawn at once: one by one would cost 16 us each, 5 % of a warp
BLOCKS_KEPT = 1024  # of 48 KiB each
LANES = 4  # OpenCV 5 warps 4 channels in 290 us, but 2 in 600, 3 in 500, 5 in 1200 (256 pixels)


class Move(NamedTuple):
    """What happens to one slice, in this order: zoom and turn about the centre, shift, flip."""

    rotate_degrees: float  # counter-clockwise
    shift_x: float  # share of the columns, to the right; whole pixels are moved
    shift_y: float  # share of the rows, downwards
    scale: float
    hflip: bool
    vflip: bool


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Rotation, shift, zoom and flips of one slice, then any transforms; what enters is 0.

    Threads may share one: what a thread changes while it works is its own. ``then`` takes
    transforms of albumentations, as ``(GaussNoise(p=0.2), ElasticTransform(p=0.1))``; they must
    keep size and type, and get the channels of the image as image, the mask as mask. They cost
    what they cost there, some 0.1 ms and more a slice. ValueError for a strength that
    the config would refuse as well.
    """

    rotate_degrees: float  # drawn from -rotate_degrees..rotate_degrees
    shift: float  # fraction of the side, drawn from -shift..shift for rows and columns
    zoom: float  # one scale for both axes, drawn from 1 - zoom..1 + zoom
    hflip: float  # probability
    vflip: float  # probability
    then: tuple[BasicTransform, ...] = ()
    _own: threading.local = field(
        init=False, repr=False, compare=False, default_factory=threading.local
    )

    def __post_init__(self) -> None:
        for name in ("rotate_degrees", "shift", "zoom", "hflip", "vflip"):
            require_legal(getattr(self, name), leaf_of(Augmentation, name))

    def __call__(
        self, slice_HWD: Pixels, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int
    ) -> None:
        """Write the slice into ``moved_HWD``, image and mask moved alike, the mask still 0 and 1.

        ValueError: one of ``then`` changes the size or the type of image or mask.
        """
        if any(self._strengths):
            block, place = divmod(sample, BLOCK)
            height, width = slice_HWD.shape[:2]
            matrices = _matrices(self._strengths, seed, epoch, block, height, width)
            warp(slice_HWD, matrices[place], moved_HWD)
        else:
            np.copyto(moved_HWD, slice_HWD)
        if self.then:
            self._go_on(moved_HWD, seed, epoch, sample)

    def move(self, *, seed: int, epoch: int, sample: int) -> Move:
        """What is drawn for one sample."""
        block, place = divmod(sample, BLOCK)
        drawn_6 = _draws(self._strengths, seed, epoch, block)[:, place]
        degrees, shift_x, shift_y, scale, hflip, vflip = drawn_6.tolist()
        return Move(degrees, shift_x, shift_y, scale, hflip > 0, vflip > 0)

    @property
    def _strengths(self) -> Strengths:
        return self.rotate_degrees, self.shift, self.zoom, self.hflip, self.vflip

    def _go_on(self, moved_HWD: Pixels, seed: int, epoch: int, sample: int) -> None:
        """Apply the transforms that were added."""
        if not hasattr(self._own, "steps"):  # a Compose keeps its random state: one a thread
            self._own.steps = Compose(list(deepcopy(self.then)))
        self._own.steps.set_random_state(*_random_state(seed, epoch, sample))
        image_HWC = np.ascontiguousarray(moved_HWD[..., :-1])
        mask_HW = np.ascontiguousarray(moved_HWD[..., -1])
        done = self._own.steps(image=image_HWC, mask=mask_HW)
        _refuse_other_kind(image_HWC, done["image"])
        _refuse_other_kind(mask_HW, done["mask"])
        moved_HWD[..., :-1] = done["image"]
        moved_HWD[..., -1] = done["mask"]

    def __reduce__(self) -> tuple[Any, ...]:
        declared = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return partial(Augment, **declared), ()  # what is a thread's own cannot be pickled


def warp(slice_HWD: Pixels, matrix_23: NDArray[np.float64], moved_HWD: Pixels) -> None:
    """Write the slice into ``moved_HWD``, a pixel (x, y, 1) going to ``matrix_23`` @ (x, y, 1).

    The mask needs no threshold: 0 and 1, interpolated and rounded, are 1 above a share of 0.5. A
    slice is first copied to memory that stays in the cache (30 us): a turned image is read across
    the rows, which from elsewhere takes 390 us instead of 290.
    """
    height, width, depth = slice_HWD.shape
    if depth == LANES:
        (near,) = _scratch(height, width, 1)
        np.copyto(near, slice_HWD)
        cv2.warpAffine(near, matrix_23, (width, height), dst=moved_HWD)
        return
    lanes = _scratch(height, width, -(-depth // LANES))
    pairs = [k for channel in range(depth) for k in (channel, channel)]
    cv2.mixChannels([slice_HWD], lanes, pairs)
    warped = [cv2.warpAffine(lane, matrix_23, (width, height)) for lane in lanes]
    cv2.mixChannels(warped, [moved_HWD], pairs)


_kept = threading.local()


def _scratch(height: int, width: int, count: int) -> list[Pixels]:
    """Images of LANES channels, the same ones whenever this thread asks for the same sizes."""
    if getattr(_kept, "sizes", None) != (height, width, count):
        _kept.sizes = height, width, count
        _kept.images = [np.zeros((height, width, LANES), np.uint8) for _ in range(count)]
    images: list[Pixels] = _kept.images
    return images


@lru_cache(maxsize=BLOCKS_KEPT)
def _matrices(
    strengths: Strengths, seed: int, epoch: int, block: int, height: int, width: int
) -> NDArray[np.float64]:
    """Where each sample of a block sends a pixel (x, y), shape (BLOCK, 2, 3)."""
    degrees, shift_x, shift_y, scale, hflip, vflip = _draws(strengths, seed, epoch, block)
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    to_x = np.trunc(shift_x * width) + x - cos * x - sin * y  # whole pixels, as albumentations
    to_y = np.trunc(shift_y * height) + y + sin * x - cos * y
    rows = np.array([[cos, sin, to_x], [-sin, cos, to_y]])
    across, down = 1 - 2 * hflip, 1 - 2 * vflip  # -1 where flipped
    rows = rows * np.array([across, down])[:, None]
    rows[:, 2] += [hflip * (width - 1), vflip * (height - 1)]
    return np.ascontiguousarray(rows.transpose(2, 0, 1))


def _draws(strengths: Strengths, seed: int, epoch: int, block: int) -> NDArray[np.float64]:
    """The moves of a block of samples, shape (fields of Move, BLOCK)."""
    stream = np.random.Philox(key=[seed, epoch], counter=[0, block, 0, 0])
    rotate_degrees, shift, zoom, hflip, vflip = strengths
    share = np.random.Generator(stream).random((BLOCK, len(Move._fields))).T
    turn, right, down, larger = 2 * share[:4] - 1
    flips = share[4] < hflip, share[5] < vflip
    return np.array([rotate_degrees * turn, shift * right, shift * down, 1 + zoom * larger, *flips])


def _random_state(seed: int, epoch: int, sample: int) -> tuple[np.random.Generator, random.Random]:
    """One state for all steps: Compose.set_random_seed would give each step the same one.

    With that, two steps of the same probability always come together (seen in 200 of 200).
    """
    words = np.random.SeedSequence([seed, epoch, sample]).generate_state(2, np.uint64)
    return np.random.default_rng(words[0]), random.Random(int(words[1]))


def _refuse_other_kind(before: Pixels, after: NDArray[Any]) -> None:
    if after.shape != before.shape or after.dtype != before.dtype:
        raise ValueError(
            f"an added transform must keep {before.shape} {before.dtype}, got {after.shape} "
            f"{after.dtype}; leave out what crops, pads, resizes or normalises"
        )
