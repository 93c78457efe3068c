"""NIfTI volumes: how they lie in space, and one slice of them at a time.

Stored axes are brought to canonical ones: right, front, up (data/readers/geometry.py). A volume is
cut across the canonical axis of the largest spacing (the last one if spacings are equal), since
slices are thick and pixels are fine. Of the other two axes, the earlier runs along a slice's
columns and the later along its rows. So a head gives the same slices however it is stored.

Shapes: X, Y, Z the canonical axes, C channels, H rows, W columns.
"""

import gzip
import logging
import math
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainseg.data.readers.geometry import (
    CANONICAL,
    NEAR,
    ROUNDED,
    SKEW_DEGREES,
    Affine,
    Geometry,
    Grid,
    orientation_of,
    shift_mm,
    skew_degrees,
    spacing_of,
    stored_axes,
    times,
    turned,
    turned_affine,
)
from brainseg.data.readers.geometry import fault as affine_fault
from brainseg.data.readers.picture import Unmeasured, unmeasured
from brainseg.data.readers.problems import Problem, Refused, unreadable

SUFFIXES = (".nii", ".nii.gz")
MOST_BYTES = 2**32  # of a volume's voxels: 16 times a CT of 512 x 512 x 500
GZIP = b"\x1f\x8b"
MOST_DEFLATED = 1032  # bytes that one byte of a gzip file can hold
MOST_OFFSET = 2**20  # where the voxels start in the file: before them are only comments
MOST_COUNTED = 2**16  # values of a histogram that is made without sorting
KEPT = 5  # volumes that a thread keeps open: four channels and a mask
NOT_PLACED = (
    "a volume does not say where it lies (the codes of its sform and qform are 0), its axes are "
    "taken as stored, beside one that does as if stored alike",
    "",
)
MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it comments on every file

_thread = threading.local()  # .volumes: those that this thread opened last


Histogram = tuple[NDArray[Any], NDArray[np.int64]]  # values, and how often each occurs


@dataclass(frozen=True)
class Volume:
    """A file's voxels, with canonical axes."""

    voxels_XYZC: NDArray[Any]
    unmeasured: Unmeasured

    @cached_property
    def histogram(self) -> Histogram:
        return histogram(self.voxels_XYZC)


def histogram(numbers: NDArray[Any]) -> Histogram:
    """The values that an array holds, sorted, and how often each occurs; NaN is one value."""
    if numbers.min() >= 0 and numbers.max() < MOST_COUNTED and _are_whole(numbers):
        counts = np.bincount(numbers.astype(np.int64).ravel(order="K"))  # 20 times faster
        values = np.flatnonzero(counts)
        return values.astype(numbers.dtype), counts[values]
    return np.unique(numbers, return_counts=True)


def _are_whole(numbers: NDArray[Any]) -> bool:
    return numbers.dtype.kind in "ui" or bool((numbers == np.rint(numbers)).all())


def geometry(path: Path, name: str, orientation: str = CANONICAL) -> Geometry:
    """Read only the header.

    Args:
        orientation: of the stored axes, where the file does not say it.

    Raises:
        Refused: under ``name``; no NIfTI, too large, not 1 to 4 channels, without place or size.
    """
    with _opened(path, name) as opened:
        return _geometry(opened, name, orientation)


def cut(path: Path, name: str, index: int, axis: int, orientation: str = "") -> NDArray[Any]:
    """Return one slice (H, W, C) in the file's own type, or as floats if the header scales it."""
    voxels_XYZC = read_volume(path, name, orientation).voxels_XYZC
    if not (0 <= axis < 3 and 0 <= index < voxels_XYZC.shape[axis]):
        rule = "a volume must not change after it was listed"
        fault = f"has no slice {index} along axis {axis}"
        raise Refused(Problem(name, rule, fault, "list the folder again"))
    cut_across = (slice(None),) * axis + (index,)  # np.take would copy the whole volume first
    image_HWC: NDArray[Any] = voxels_XYZC[cut_across].swapaxes(0, 1).copy()
    return image_HWC


def read_volume(path: Path, name: str, orientation: str = "") -> Volume:
    """The whole volume, from memory if it is among the last that this thread has opened."""
    kept: OrderedDict[tuple[Any, ...], Volume] = _thread.__dict__.setdefault(
        "volumes", OrderedDict()
    )
    try:
        stat = path.stat()
    except OSError:
        raise unreadable(path, name) from None
    key = (str(path), stat.st_mtime_ns, stat.st_size, orientation)
    if key not in kept:
        while len(kept) >= KEPT:
            kept.popitem(last=False)
        kept[key] = _read(path, name, orientation or CANONICAL)
    kept.move_to_end(key)
    return kept[key]


def _read(path: Path, name: str, orientation: str) -> Volume:
    with _opened(path, name) as opened:
        about, image = _geometry(opened, name, orientation), opened.image
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        with np.errstate(over="ignore"):  # what is not finite is refused
            voxels = np.asarray(image.dataobj, np.float32 if scaled else None)
        opened.stream.read(1)  # gzip compares its checksum only at the end
    native = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    stored = native.reshape(*(*voxels.shape, 1, 1)[:3], about.channels)
    return Volume(turned(stored, about.orientation), unmeasured(stored, 3))


@dataclass(frozen=True)
class _Opened:
    """A file whose voxels are not read yet."""

    image: Any
    stream: BinaryIO  # of the voxels
    pixdim: tuple[float, ...]  # as the file has it; nibabel makes 1 of 0
    most_bytes: int  # that the file can hold


@contextmanager
def _opened(path: Path, name: str) -> Iterator[_Opened]:
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP  # whatever its suffix says
            file.seek(0)
            stream: Any = gzip.GzipFile(fileobj=file) if compressed else file
            most_bytes = path.stat().st_size * (MOST_DEFLATED if compressed else 1)
            kind, pixdim = _kind(stream.read(540))
            stream.seek(0)
            image = kind.from_file_map({"image": FileHolder(str(path), stream)}, mmap=False)
            yield _Opened(image, stream, pixdim, most_bytes)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # of any kind: nibabel meets bytes that no one foresaw
        raise unreadable(path, name, error) from None


def _kind(start: bytes) -> tuple[Any, tuple[float, ...]]:
    """The class for NIfTI-1 or NIfTI-2, by the size of the header, and its pixdim.

    Raises:
        ValueError: it is neither, or its voxels lie elsewhere.
    """
    for order in "<>":
        (size,) = struct.unpack_from(order + "i", start)
        if size == 348:
            (offset,) = struct.unpack_from(order + "f", start, 108)
            pixdim = struct.unpack_from(order + "3f", start, 80)
            kind, magic = nibabel.Nifti1Image, start[344:347]
        elif size == 540:
            (offset,) = struct.unpack_from(order + "q", start, 168)
            pixdim = struct.unpack_from(order + "3d", start, 112)
            kind, magic = nibabel.Nifti2Image, start[4:7]
        else:
            continue
        if magic in (b"ni1", b"ni2"):
            raise ValueError("it is the header of a pair, its voxels lie in an .img file")
        if not size <= offset <= MOST_OFFSET:
            raise ValueError(f"its header says that voxels start at byte {offset:g}")
        return kind, pixdim
    raise ValueError("it is not a NIfTI file")


def _geometry(opened: _Opened, name: str, orientation: str) -> Geometry:
    """What the header says, checked; a 2-D file is a volume of one slice."""
    image = opened.image
    shape = tuple(int(length) for length in image.shape)
    channels = _channels(name, shape, image.get_data_dtype())
    num_bytes = math.prod(shape) * image.get_data_dtype().itemsize + image.dataobj.offset
    if num_bytes > opened.most_bytes:  # before memory is taken for them
        raise ValueError(f"it is cut short: its header tells of {num_bytes} bytes")
    mm = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    pixdim_mm = tuple(abs(size) * mm for size in opened.pixdim)
    affine = image.affine * np.array([[mm], [mm], [mm], [1.0]])
    by_sform = int(image.header["sform_code"]) > 0
    placed = by_sform or int(image.header["qform_code"]) > 0
    if not by_sform and not all(0 < size < math.inf for size in pixdim_mm[: len(shape)]):
        rule, fault = "voxels must have a size above 0 mm", f"has {times(pixdim_mm)} mm"
        raise Refused(Problem(name, rule, fault, "save it with its spacing"))
    if why := affine_fault(affine):
        rule = "a volume's affine must place its voxels"
        fault = f"has one ({'sform' if by_sform else 'qform'}) that {why}"
        raise Refused(Problem(name, rule, fault, "correct its header, or convert the scan again"))
    stored, spacing = (*shape, 1, 1)[:3], spacing_of(affine, pixdim_mm)
    orientation = orientation_of(affine) if placed else orientation
    turned_by = [j for j, _ in stored_axes(orientation)]
    spacing_mm = tuple(spacing[j] for j in turned_by)
    known = turned_affine(affine, orientation, stored)
    return Geometry(
        shape=tuple(stored[j] for j in turned_by),
        channels=channels,
        spacing_mm=spacing_mm,
        orientation=orientation,
        placed=placed,
        affine=known if placed else np.diag([*spacing_mm, 1.0]),
        notes=tuple(_notes(opened, affine, stored, mm)) if placed else (NOT_PLACED,),
    )


def _notes(opened: _Opened, affine: Affine, stored: Grid, mm: float) -> Iterator[tuple[str, str]]:
    """Where a header says two things; ``affine`` is what counts, in mm as ``mm`` makes them."""
    header = opened.image.header
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    pixdim_mm = np.array(opened.pixdim) * mm
    known = len(opened.image.shape[:3])
    if not np.allclose(abs(pixdim_mm[:known]), sides[:known], rtol=ROUNDED, atol=0):
        values = f"pixdim {times(pixdim_mm.tolist())} mm, affine {times(sides.tolist())} mm"
        yield "pixdim and the affine disagree on the voxels' size, the affine counts", values
    if int(header["sform_code"]) > 0 and int(header["qform_code"]) > 0:
        try:
            qform = np.diag([mm, mm, mm, 1.0]) @ header.get_qform()
        except (HeaderDataError, ValueError):
            yield "the qform is no rotation, the sform counts", ""
        else:
            shift = shift_mm(affine, qform, stored)
            if not shift <= NEAR * min(sides):
                values = f"up to {shift:.3g} mm apart"
                yield "sform and qform place a volume differently, the sform counts", values
    if (skew := skew_degrees(affine)) >= SKEW_DEGREES:
        values = f"off by {skew:.3g} degrees"
        yield "a volume's axes are not at right angles, its slices are shown as stored", values


def _channels(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """How many channels a file holds: along its last axis, beyond three that are of space."""
    holds = f"holds {times(shape)} {dtype}"
    beyond = [length for length in shape[3:] if length != 1]
    channels = math.prod(beyond)
    if len(shape) < 2 or min(shape) < 1 or len(beyond) > 1 or channels > 4:
        rule = "a volume must have three axes, or four of which the last holds 1 to 4 channels"
        raise Refused(Problem(name, rule, holds, "save each time point or channel as a file"))
    if dtype.kind not in "uif":
        rule = "a volume must hold integers or floats"
        raise Refused(Problem(name, rule, holds, "save each channel as a volume of numbers"))
    if math.prod(shape) * dtype.itemsize > MOST_BYTES:
        rule = f"a volume must take at most {MOST_BYTES // 2**30} GiB"
        raise Refused(Problem(name, rule, holds, "check the file, or cut it into parts"))
    return channels
