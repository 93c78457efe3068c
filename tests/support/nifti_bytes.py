"""NIfTI files of any combination of fields, written by hand from the format's own description.

Sources: nifti1.h, nifti2.h. Only the fields that say where voxels lie, and how they are stored.
"""

import gzip
import struct
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024}
FLIPS = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]  # all 48
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # of a code of xyzt_units


@dataclass(frozen=True, kw_only=True)
class Nifti:
    """How voxels are stored; the defaults are those of an ordinary file."""

    version: int = 1
    order: str = "<"
    units: int = 2
    slope: float = 1.0
    inter: float = 0.0
    offset: int = 0  # bytes between header and voxels, beside the four that must be there
    sform: int = 1  # codes
    qform: int = 0
    pixdim: tuple[float, ...] | None = None  # None: as the affine has it
    quaternion: tuple[float, ...] = (0.0, 0.0, 0.0)
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)  # of the qform
    qfac: float = 1.0
    magic: bytes = b""
    compress: bool = field(default=False)

    def write(self, stored: NDArray[Any], affine_mm: NDArray[np.float64]) -> bytes:
        """The file of voxels as they are stored (X, Y, Z, and maybe more axes), in file order."""
        kind = stored.dtype.newbyteorder(self.order)
        header = bytearray(348 if self.version == 1 else 540)
        dim = [stored.ndim, *stored.shape, *[1] * (7 - stored.ndim)]
        mm = MILLIMETRES[self.units]
        sides = np.linalg.norm(affine_mm[:3, :3], axis=0) / mm
        pixdim = [self.qfac, *(sides if self.pixdim is None else self.pixdim), 1, 1, 1, 1]
        affine = affine_mm[:3] / mm
        start = len(header) + 4 + self.offset
        scale, qform = (self.slope, self.inter), (*self.quaternion, *self.origin)
        if self.version == 1:
            magic = (self.magic or b"n+1").ljust(4, b"\0")
            self._put(header, (0, "i", [348]), (40, "8h", dim), (70, "2h", self._kind(stored)))
            self._put(header, (76, "8f", pixdim), (108, "f", [start]), (112, "2f", scale))
            self._put(header, (252, "2h", [self.qform, self.sform]), (256, "6f", qform))
            self._put(header, (280, "12f", affine.ravel()), (344, "4s", [magic]))
            header[123] = self.units
        else:
            magic = (self.magic or b"n+2").ljust(4, b"\0") + b"\r\n\x1a\n"
            self._put(header, (0, "i", [540]), (4, "8s", [magic]), (12, "2h", self._kind(stored)))
            self._put(header, (16, "8q", dim), (104, "8d", pixdim), (168, "q", [start]))
            self._put(header, (176, "2d", scale), (344, "2i", [self.qform, self.sform]))
            self._put(header, (352, "6d", qform), (400, "12d", affine.ravel()))
            self._put(header, (500, "i", [self.units]))
        content = (
            bytes(header) + bytes(max(0, 4 + self.offset)) + stored.astype(kind).tobytes(order="F")
        )
        return gzip.compress(content, 1) if self.compress else content

    def _kind(self, stored: NDArray[Any]) -> tuple[int, int]:
        return CODES[stored.dtype.str[1:]], 8 * stored.itemsize

    def _put(self, header: bytearray, *fields: tuple[int, str, Any]) -> None:
        for at, form, values in fields:
            struct.pack_into(self.order + form, header, at, *values)


def stored_as(
    voxels: NDArray[Any],
    affine_mm: NDArray[np.float64],
    order: tuple[int, ...],
    signs: tuple[int, ...],
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The same voxels in the same place, with axes in another order and direction."""
    to_canonical = np.zeros((4, 4))
    to_canonical[3, 3] = 1
    for stored, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        to_canonical[axis, stored] = sign
        to_canonical[axis, 3] = voxels.shape[axis] - 1 if sign < 0 else 0
    steps = tuple(slice(None, None, sign) for sign in signs)
    return voxels.transpose(*order, *range(3, voxels.ndim))[steps], affine_mm @ to_canonical
