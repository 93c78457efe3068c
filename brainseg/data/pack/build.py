"""Slices decoded, mapped to 8 bits, made square and written as the arrays of a pack.

    slices.npy      image and mask
    histograms.npy  pixels of each grey level
    levels.npy      which intensity in the file became 0, and which 255 (data/pack/intensity.py)

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

from brainseg.data.pack.intensity import (
    intensity_range,
    level_counts,
    require_one_type,
    to_bytes,
)
from brainseg.data.pack.square import to_square
from brainseg.data.readers.decode import DECODERS
from brainseg.data.readers.images import (
    read_image,
    require_same_size,
    single_threaded,
)
from brainseg.data.readers.masks import read_mask
from brainseg.data.table import CUT

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int]  # of a slice: H, W, D


@dataclass(frozen=True)
class Source:
    """Where one row of the pack comes from."""

    row: int
    patient: str
    image: str
    mask: str
    cut: tuple[int, int, str]  # as table.CUT
    label: str


def write_arrays(folder: Path, table: pd.DataFrame, root: Path, shape: Shape) -> None:
    """Write the arrays of a pack whose slices have ``shape``, several patients at once.

    Raises:
        ValueError: an image that cannot be read or has other than the declared channels, a
            patient's images of several types, a mask that is not binary or has another size.
        OSError: a full disk.
    """
    count, channels = len(table), shape[2] - 1
    with (
        closing(_Rows(folder / "slices.npy", "|u1", (count, *shape))) as slices,
        closing(_Rows(folder / "histograms.npy", "<u4", (count, channels, 256))) as histograms,
        closing(_Rows(folder / "levels.npy", "<f4", (count, channels, 2))) as all_ranges,
        single_threaded(),
        ThreadPoolExecutor(DECODERS) as pool,
    ):

        def write(sources: list[Source]) -> None:
            images = _images(root, sources, channels)
            if (first := next(images)).dtype == np.uint8:
                images, range_C2 = chain([first], images), intensity_range([first])
            else:  # the range of an image depends on all images of its patient
                images = iter(kept := [first, *images])
                range_C2 = intensity_range(kept)
            for source, image_HWC in zip(sources, images, strict=True):
                mask_HW = read_mask(root, source.mask, *source.cut, source.label)
                require_same_size(source.image, image_HWC, source.mask, mask_HW)
                slice_HWD = _packed(to_bytes(image_HWC, range_C2), mask_HW, shape[0])
                slices[source.row] = slice_HWD
                histograms[source.row] = level_counts(slice_HWD[..., :-1])
                all_ranges[source.row] = range_C2

        for _ in pool.map(write, _by_patient(table)):
            pass  # an error in a thread is raised here; patients that are not started are skipped


def require_channels(table: pd.DataFrame, root: Path, channels: int) -> None:
    """Refuse data whose first image has another number of channels than declared.

    Raises:
        ValueError: says how to declare the number that it has.
    """
    first = table.iloc[0]
    image_HWC = read_image(root, first["image"], *first[list(CUT)])
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


def _by_patient(table: pd.DataFrame) -> list[list[Source]]:
    """The rows of each patient, whose intensities are mapped together; so volumes are read once."""
    columns = table[["patient", "image", "mask", "label", *CUT]]
    rows = enumerate(columns.itertuples(index=False, name=None))
    sources = [
        Source(row, patient, image, mask, (index, axis, orientation), label)
        for row, (patient, image, mask, label, index, axis, orientation) in rows
    ]
    by_patient = sorted(sources, key=lambda source: source.patient)
    return [list(rows) for _, rows in groupby(by_patient, key=lambda source: source.patient)]


def _images(root: Path, sources: list[Source], channels: int) -> Iterator[NDArray[Any]]:
    """The images of a patient, each read when it is asked for; all must be of the first's type."""
    dtype: np.dtype[Any] | None = None
    for source in sources:
        image_HWC = read_image(root, source.image, *source.cut)
        _refuse_other_channels(source.image, image_HWC, channels)
        dtype = dtype or image_HWC.dtype
        require_one_type(source.image, image_HWC.dtype, source.patient, dtype)
        yield image_HWC


def _packed(image_HWC: Pixels, mask_HW: Pixels, image_size: int) -> Pixels:
    """Image and mask as the pack holds them: one square, shape (H, W, D)."""
    channels = cv2.split(to_square(image_HWC, image_size))
    slice_HWD: NDArray[Any] = cv2.merge([*channels, resized_mask(mask_HW, image_size)])
    return slice_HWD


def resized_mask(mask_HW: Pixels, image_size: int) -> Pixels:
    """The mask of 0 and 1 as the pack holds it: a pixel is tumour if more than half of it was.

    So a tumour of less than half a pixel vanishes: data/quality/vanishing.py counts these.
    """
    tumour_HW: NDArray[np.bool_] = to_square(mask_HW.astype(np.float32), image_size) > 0.5
    return tumour_HW.astype(np.uint8)


def _refuse_other_channels(image: str, image_HWC: NDArray[Any], channels: int) -> None:
    actual = image_HWC.shape[2]
    if actual != channels:
        raise ValueError(
            f"images must have the declared number of channels ({channels}), {image} has {actual}; "
            f"declare it with --set channels={actual}, or export all images alike"
        )
