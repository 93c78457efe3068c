"""Move a training slice and its mask at random, and the same again whenever it is repeated.

Turning, shifting, zooming and flipping are one warp of image and mask together, with the result
of albumentations' Affine and flips, one after the other. Noise or elastic deformation, if
asked for, is albumentations' own transform and comes after it.

All random numbers depend only on (seed, epoch, sample), so neither the number of workers nor the
order of calls changes a pixel.

Shapes: H rows, W columns, C channels, D = C + 1: the channels of an image and, last, its mask.
"""

import random
import threading
from dataclasses import dataclass, fields
from functools import lru_cache
from math import pi, sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.config.hyperparameters import Augmentation
from brainseg.config.schema import leaf_of, require_legal
from brainseg.process import environment

if TYPE_CHECKING:
    from albumentations import BasicTransform

Pixels = NDArray[np.uint8]
Strengths = tuple[float, float, float, float, float]
Extra = Literal["none", "noise", "elastic"]

BLOCK = 1024  # samples drawn at once: one by one would cost 16 us each, 5 % of a warp
BLOCKS_KEPT = 1024  # of 48 KiB each
EXTRA_SHARE = 0.2  # of the slices that an extra changes
NOISE = (0.01, 0.06)  # standard deviation, drawn for each slice; share of the 255 grey levels
BUMP = 0.05  # standard deviation of the blur that makes a deformation smooth, share of the side
BEND = 0.01  # standard deviation of how far a pixel moves along an axis, share of the side
MARGIN = 32  # pixels of a slice's frame, see ``warp``
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
    """Rotation, shift, zoom and flips of one slice, then an extra; pixels from outside are 0.

    Threads may share one. ValueError for a strength that the config would refuse as well.
    """

    rotate_degrees: float  # drawn from -rotate_degrees..rotate_degrees
    shift: float  # fraction of the side, drawn from -shift..shift for rows and columns
    zoom: float  # one scale for both axes, drawn from 1 - zoom..1 + zoom
    hflip: float  # probability
    vflip: float  # probability
    extra: Extra = "none"

    def __post_init__(self) -> None:
        for field in fields(self):
            require_legal(getattr(self, field.name), leaf_of(Augmentation, field.name))

    def __call__(
        self, slice_HWD: Pixels, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int
    ) -> None:
        """Write the slice, moved, into ``moved_HWD``; the mask is still 0 and 1."""
        if any(self._strengths):
            block, place = divmod(sample, BLOCK)
            height, width = slice_HWD.shape[:2]
            matrices = _matrices(self._strengths, seed, epoch, block, height, width)
            warp(slice_HWD, matrices[place], moved_HWD)
        else:
            np.copyto(moved_HWD, slice_HWD)
        if self.extra != "none":
            add_extra(self.extra, moved_HWD, seed=seed, epoch=epoch, sample=sample)

    def move(self, *, seed: int, epoch: int, sample: int) -> Move:
        """The move that is drawn for one sample."""
        block, place = divmod(sample, BLOCK)
        drawn_6 = _draws(self._strengths, seed, epoch, block)[:, place]
        degrees, shift_x, shift_y, scale, hflip, vflip = drawn_6.tolist()
        return Move(degrees, shift_x, shift_y, scale, hflip > 0, vflip > 0)

    @property
    def _strengths(self) -> Strengths:
        return self.rotate_degrees, self.shift, self.zoom, self.hflip, self.vflip


def warp(slice_HWD: Pixels, matrix_23: NDArray[np.float64], moved_HWD: Pixels) -> None:
    """Write the slice into ``moved_HWD``, pixel (x, y) of its frame to ``matrix_23`` @ (x, y, 1).

    The mask needs no threshold: 0 and 1, interpolated and rounded, are 1 above a share of 0.5. A
    slice is first copied (10 % of the time) into a frame that stays in the cache: a turned image
    is read across the rows, which takes twice as long from elsewhere. The frame is black and wider
    by MARGIN on each side: OpenCV computes 16 pixels together if all come from inside of what it
    is given, else one by one, which took 10 % of a warp at 256 pixels and 30 % at 64.
    """
    height, width, depth = slice_HWD.shape
    near = _scratch(height, width, -(-depth // LANES))
    if depth == LANES:
        # np.copyto takes up to twice as long; the stubs do not know that a mask may be None.
        cv2.copyTo(slice_HWD, None, near.inner[0])  # type: ignore[call-overload]
        cv2.warpAffine(near.frames[0], matrix_23, (width, height), dst=moved_HWD)
        return
    pairs = [k for channel in range(depth) for k in (channel, channel)]
    cv2.mixChannels([slice_HWD], near.inner, pairs)
    warped = [cv2.warpAffine(lanes, matrix_23, (width, height)) for lanes in near.frames]
    cv2.mixChannels(warped, [moved_HWD], pairs)


def add_extra(extra: Extra, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int) -> None:
    """Add noise to the image, or deform image and mask alike, in ``EXTRA_SHARE`` of the samples.

    At 256 pixels noise takes 0.9 ms and a deformation 10 ms of a slice that is changed, beside
    0.3 ms of the warp.
    """
    transform = _transform(extra, max(moved_HWD.shape[:2]))
    transform.set_random_state(*_random_state(seed, epoch, sample))
    image_HWC = np.ascontiguousarray(moved_HWD[..., :-1])
    mask_HW = np.ascontiguousarray(moved_HWD[..., -1])
    changed = transform(image=image_HWC, mask=mask_HW)
    moved_HWD[..., :-1] = changed["image"]
    moved_HWD[..., -1] = changed["mask"]


_thread = threading.local()


class _Scratch(NamedTuple):
    """Images of LANES channels."""

    frames: list[Pixels]
    inner: list[Pixels]  # the same memory without the margins


def _scratch(height: int, width: int, count: int) -> _Scratch:
    """That of this thread, reused as long as it asks for the same sizes."""
    if getattr(_thread, "sizes", None) != (height, width, count):
        shape = height + 2 * MARGIN, width + 2 * MARGIN, LANES
        frames = [np.zeros(shape, np.uint8) for _ in range(count)]
        inner = [image[MARGIN : MARGIN + height, MARGIN : MARGIN + width] for image in frames]
        _thread.sizes, _thread.scratch = (height, width, count), _Scratch(frames, inner)
    scratch: _Scratch = _thread.scratch
    return scratch


def _transform(extra: Extra, side: int) -> "BasicTransform":
    """This thread's own transform, since each keeps its random state.

    Source of the deformation: Simard et al. (2003), "Best practices for convolutional neural
    networks", section 2. Uniform noise from -1 to 1, blurred with a standard deviation of s,
    has a standard deviation of 1 / (2 s sqrt(3 pi)).
    """
    if getattr(_thread, "transform", (None, None))[0] != (extra, side):
        # Half a CPU-second, for an extra alone. It would ask the network for a newer version.
        with environment(NO_ALBUMENTATIONS_UPDATE="1"):
            from albumentations import ElasticTransform, GaussNoise
        if extra == "noise":
            transform = GaussNoise(std_range=NOISE, p=EXTRA_SHARE)
        else:
            sigma = BUMP * side
            alpha = BEND * side * 2 * sigma * sqrt(3 * pi)
            transform = ElasticTransform(
                alpha=alpha, sigma=sigma, noise_distribution="uniform", p=EXTRA_SHARE
            )
        _thread.transform = (extra, side), transform
    return _thread.transform[1]


@lru_cache(maxsize=BLOCKS_KEPT)
def _matrices(
    strengths: Strengths, seed: int, epoch: int, block: int, height: int, width: int
) -> NDArray[np.float64]:
    """Where each sample of a block sends a pixel of its frame, shape (BLOCK, 2, 3)."""
    degrees, shift_x, shift_y, scale, hflip, vflip = _draws(strengths, seed, epoch, block)
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    from_x, from_y = x + MARGIN, y + MARGIN
    to_x = np.trunc(shift_x * width) + x - cos * from_x - sin * from_y  # whole pixels,
    to_y = np.trunc(shift_y * height) + y + sin * from_x - cos * from_y  # as albumentations
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
    """The two generators that a transform of albumentations draws from."""
    words = np.random.SeedSequence([seed, epoch, sample]).generate_state(2, np.uint64)
    return np.random.default_rng(words[0]), random.Random(int(words[1]))
