"""NIfTI volumes: how they lie in space, and one slice of them at a time.

A volume is cut across its axis of the largest spacing (the last one if spacings are equal), since
slices are thick and pixels are fine. Of the other two axes, the earlier runs along a slice's
columns and the later along its rows, as in ITK. Volumes are not rotated to a common orientation.

Shapes: X, Y, Z the axes of the file, C channels, H rows, W columns.
"""

import gzip
import logging
import math
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainseg.data.readers.problems import Problem, Refused, unreadable

SUFFIXES = (".nii", ".nii.gz")
MOST_BYTES = 2**32  # of a volume's voxels: 16 times a CT of 512 x 512 x 500
MOST_OFFSET = 2**20  # where the voxels start in the file: before them are only comments
DAMAGE = (  # what nibabel raises on files cut short, broken streams and random headers
    *(ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, struct.error),
    *(ArithmeticError, LookupError, TypeError, ValueError),
)
KEPT = 5  # volumes that a thread keeps open: four channels and a mask
ALIKE = 0.01  # spacings that differ by less are the same
MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it comments on every file

_thread = threading.local()  # .volumes: those that this thread opened last


@dataclass(frozen=True)
class Geometry:
    """How a volume lies in space."""

    shape: tuple[int, ...]  # X, Y, Z
    channels: int
    spacing_mm: tuple[float, ...]  # from voxel to voxel along X, Y, Z
    orientation: str  # where X, Y, Z point: "RAS" is right, front, up

    @property
    def axis(self) -> int:
        """The axis that is cut across."""
        largest = max(self.spacing_mm) * (1 - ALIKE)
        return max(k for k in range(3) if self.spacing_mm[k] >= largest)

    @property
    def slice_spacing_mm(self) -> tuple[float, float, float]:
        """The distance from row to row, from column to column, from slice to slice."""
        columns, rows = (k for k in range(3) if k != self.axis)
        return self.spacing_mm[rows], self.spacing_mm[columns], self.spacing_mm[self.axis]

    def difference(self, other: "Geometry") -> str:
        """How this grid differs from another volume's; "" if it is the same."""
        if self.shape != other.shape:
            return f"is {_times(self.shape)} voxels, not {_times(other.shape)}"
        if self.orientation != other.orientation:
            return f"has orientation {self.orientation}, not {other.orientation}"
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=ALIKE):
            return f"has voxels of {_times(self.spacing_mm)} mm, not {_times(other.spacing_mm)}"
        return ""


def geometry(path: Path, name: str) -> Geometry:
    """Read only the header. Refused, under ``name``: no NIfTI, too large, not 1 to 4 channels."""
    with _opened(path, name) as (image, _):
        return _geometry(image, name)


def cut(path: Path, name: str, index: int, axis: int) -> NDArray[Any]:
    """Return one slice (H, W, C) in the file's own type, or as floats if the header scales it.

    Each thread keeps the volumes that it opened last, so the next slice is read from memory.
    """
    volume_XYZC = _volume(path, name)
    if not (0 <= axis < 3 and 0 <= index < volume_XYZC.shape[axis]):
        rule = "a volume must not change after it was listed"
        fault = f"has no slice {index} along axis {axis}"
        raise Refused(Problem(name, rule, fault, "list the folder again"))
    image_HWC: NDArray[Any] = np.take(volume_XYZC, index, axis).swapaxes(0, 1)
    return image_HWC


def _volume(path: Path, name: str) -> NDArray[Any]:
    """The whole volume, from memory if it is among the last of this thread."""
    kept: OrderedDict[tuple[str, int, int], NDArray[Any]] = _thread.__dict__.setdefault(
        "volumes", OrderedDict()
    )
    try:
        stat = path.stat()
    except OSError:
        raise unreadable(path, name) from None
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in kept:
        while len(kept) >= KEPT:
            kept.popitem(last=False)
        kept[key] = _read(path, name)
    kept.move_to_end(key)
    return kept[key]


def _read(path: Path, name: str) -> NDArray[Any]:
    with _opened(path, name) as (image, stream):
        about = _geometry(image, name)
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        with np.errstate(over="ignore"):  # what is not finite is refused
            voxels = np.asarray(image.dataobj, np.float32 if scaled else None)
        stream.read(1)  # gzip compares its checksum only at the end
    native = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    return native.reshape(*about.shape, about.channels)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[Any, BinaryIO]]:
    """The image, its voxels unread, and the stream they come from."""
    try:
        opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
        with opener(path, "rb") as stream:
            kind = _kind(stream.read(184))
            stream.seek(0)
            yield kind.from_file_map({"image": FileHolder(str(path), stream)}, mmap=False), stream
    except Refused:
        raise
    except DAMAGE as error:
        raise unreadable(path, name, error) from None


def _kind(start: bytes) -> Any:
    """The class for NIfTI-1 or NIfTI-2, by the size of the header; ValueError for neither."""
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", start)
        if size == 348:
            (offset,) = struct.unpack_from(order + "f", start, 108)
            kind = nibabel.Nifti1Image
        elif size == 540:
            (offset,) = struct.unpack_from(order + "q", start, 168)
            kind = nibabel.Nifti2Image
        else:
            continue
        if not offset <= MOST_OFFSET:
            raise ValueError(f"its header says that voxels start at byte {offset:g}")
        return kind
    raise ValueError("it is not a NIfTI file")


def _geometry(image: Any, name: str) -> Geometry:
    """What the header says, checked; a 2-D file is a volume of one slice."""
    shape = tuple(int(length) for length in image.shape)
    _refuse_size(name, shape, image.get_data_dtype())
    units = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    zooms = [float(zoom) * units for zoom in image.header.get_zooms()[:3]]
    spacing = tuple(zooms + [1.0] * (3 - len(zooms)))
    if not all(0 < step < math.inf for step in spacing):
        fault = f"has {_times(spacing)} mm"
        rule = "voxels must have a size above 0 mm"
        raise Refused(Problem(name, rule, fault, "save it with its spacing"))
    axes = "".join(str(code) for code in nibabel.aff2axcodes(image.affine))
    return Geometry((*shape[:3], 1)[:3], shape[3] if len(shape) == 4 else 1, spacing, axes)


def _refuse_size(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    holds = f"holds {_times(shape)} {dtype}"
    channels = shape[3] if len(shape) == 4 else 1
    if len(shape) not in (2, 3, 4) or min(shape) < 1 or channels > 4:
        rule = "a volume must have three axes, or four of which the last holds 1 to 4 channels"
        raise Refused(Problem(name, rule, holds, "save each time point or channel as a file"))
    if dtype.kind not in "uif":
        rule = "a volume must hold integers or floats"
        raise Refused(Problem(name, rule, holds, "save each channel as a volume of numbers"))
    if math.prod(shape) * dtype.itemsize > MOST_BYTES:
        rule = f"a volume must take at most {MOST_BYTES // 2**30} GiB"
        raise Refused(Problem(name, rule, holds, "check the file, or cut it into parts"))


def _times(numbers: tuple[int, ...] | tuple[float, ...]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
