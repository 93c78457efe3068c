"""Slices decoded, brought to 8 bits and to one square, and written as the arrays of a pack.

    slices.npy      image and mask
    histograms.npy  pixels of each grey level
    levels.npy      which level of the file became 0, and which 255 (see data/pack/intensity.py)

Shapes: H rows, W columns, C channels, D = C + 1 (the channels of an image and, last, its mask),
256 grey levels. A row is a position in the table.
"""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.intensity import levels, to_bytes
from brainseg.data.readers.images import (
    read_image,
    read_mask,
    require_same_size,
    single_threaded,
)

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]  # of a slice: H, W, D


@dataclass(frozen=True)
class Place:
    """Where one row of the pack comes from."""

    row: int
    patient: str
    image: str
    mask: str
    index: int
    axis: int


def write_arrays(folder: Path, table: pd.DataFrame, root: Path, shape: Shape) -> None:
    """Write the arrays of a pack whose slices have ``shape``, several patients at once.

    ValueError: an image that cannot be read or has not the channels asked for, a patient's images
    of several types, a mask that is not binary or not the size of its image. OSError: a full disk.
    """
    count, channels = len(table), shape[2] - 1
    with (
        closing(_Rows(folder / "slices.npy", "|u1", (count, *shape))) as slices,
        closing(_Rows(folder / "histograms.npy", "<u4", (count, channels, 256))) as histograms,
        closing(_Rows(folder / "levels.npy", "<f4", (count, channels, 2))) as all_levels,
        single_threaded(),
        ThreadPoolExecutor() as pool,
    ):

        def write(places: list[Place]) -> None:
            images = _images(root, places, channels)
            if (first := next(images)).dtype == np.uint8:
                images, levels_C2 = chain([first], images), levels([first])
            else:  # the levels of one image follow from all the images of its patient
                images = iter(kept := [first, *images])
                levels_C2 = levels(kept)
            for place, image_HWC in zip(places, images, strict=True):
                mask_HW = read_mask(root, place.mask, place.index, place.axis)
                require_same_size(place.image, image_HWC, place.mask, mask_HW)
                slice_HWD = _packed(to_bytes(image_HWC, levels_C2), mask_HW, shape[0])
                slices[place.row] = slice_HWD
                histograms[place.row] = _histogram(slice_HWD[..., :-1])
                all_levels[place.row] = levels_C2

        for _ in pool.map(write, _by_patient(table)):
            pass  # an error of a thread is raised here, and what has not begun is left


def require_channels(table: pd.DataFrame, root: Path, channels: int) -> None:
    """Refuse, by the first image, data whose images have not as many channels as are declared.

    Raises:
        ValueError: with how to declare what they have.
    """
    first = table.iloc[0]
    image_HWC = read_image(root, first["image"], first["index"], first["axis"])
    _refuse_other_channels(first["image"], image_HWC, channels)


class _Rows:
    """An array on disk, filled row by row in any order, from any thread.

    Not through a map: a mapped page on a full disk would be a SIGBUS.
    """

    def __init__(self, path: Path, descr: str, shape: tuple[int, ...]) -> None:
        self._file = open(path, "wb")  # noqa: SIM115  # closed by write_arrays
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._start, self._row = self._file.tell(), np.empty(shape[1:], descr)

    def __setitem__(self, row: int, values: NDArray[Any]) -> None:
        assert values.shape == self._row.shape and values.dtype == self._row.dtype
        at = self._start + row * values.nbytes
        if os.pwrite(self._file.fileno(), values.tobytes(), at) < values.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def _by_patient(table: pd.DataFrame) -> list[list[Place]]:
    """The rows of each patient: their grey levels go together, and so do slices of a volume."""
    columns = table[["patient", "image", "mask", "index", "axis"]]
    rows = columns.itertuples(index=False, name=None)
    places = [Place(row, *cells) for row, cells in enumerate(rows)]
    by_patient = sorted(places, key=lambda place: place.patient)
    return [list(own) for _, own in groupby(by_patient, key=lambda place: place.patient)]


def _images(root: Path, places: list[Place], channels: int) -> Iterator[NDArray[Any]]:
    """The images of a patient, each read when it is asked for; all must be of the first's type."""
    dtype: np.dtype[Any] | None = None
    for place in places:
        image_HWC = read_image(root, place.image, place.index, place.axis)
        _refuse_other_channels(place.image, image_HWC, channels)
        dtype = dtype or image_HWC.dtype
        if image_HWC.dtype != dtype:
            raise ValueError(
                f"the images of a patient must be of one type, {place.image} holds "
                f"{image_HWC.dtype} and another image of {place.patient} {dtype}; export all as one"
            )
        yield image_HWC


def _packed(image_HWC: Pixels, mask_HW: Pixels, image_size: int) -> Pixels:
    """Image and mask as the pack holds them: one square, shape (H, W, D)."""
    tumour_HW: NDArray[np.bool_] = _resized(mask_HW.astype(np.float32), image_size) > 0.5
    channels = cv2.split(_resized(image_HWC, image_size))
    slice_HWD: NDArray[Any] = cv2.merge([*channels, tumour_HW.astype(np.uint8)])
    return slice_HWD


def _histogram(image_HWC: Pixels) -> NDArray[np.uint32]:
    """Pixels of each grey level, shape (C, 256)."""
    channels = image_HWC.reshape(-1, image_HWC.shape[2]).T
    return np.stack([np.bincount(channel, minlength=256) for channel in channels]).astype("<u4")


def _resized(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Pad with 0 to a centred square, then resize it to side."""
    height, width = pixels.shape[:2]
    square = max(height, width)
    top, left = (square - height) // 2, (square - width) // 2
    padding = [(top, square - height - top), (left, square - width - left), (0, 0)]
    padded = np.pad(pixels, padding[: pixels.ndim])
    method = cv2.INTER_AREA if side < square else cv2.INTER_LINEAR
    return cv2.resize(padded, (side, side), interpolation=method)


def _refuse_other_channels(image: str, image_HWC: NDArray[Any], channels: int) -> None:
    found = image_HWC.shape[2]
    if found != channels:
        raise ValueError(
            f"images must have the declared number of channels, {channels}, {image} has {found}; "
            f"declare it with --set channels={found}, or export all alike"
        )
