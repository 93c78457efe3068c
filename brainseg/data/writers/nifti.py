"""A NIfTI volume in the place of another one: its header, with other voxels.

The header is copied byte by byte, whatever it says: affines and their codes, voxel order, units and
pixdim. Changed are the number type, the number of axes where the other volume holds channels, where
voxels start, and what tells how to scale and show the other's intensities.

Shapes: X, Y, Z the canonical axes, see data/readers/nifti.py; H rows, W columns of a slice.
"""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from brainseg.data.readers.geometry import CANONICAL, stored_axes
from brainseg.data.readers.nifti import GZIP, geometry
from brainseg.records.files import replacing

FAST = 1  # of gzip's levels; masks become small at any
HEADERS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}


def write_like(
    path: Path,
    slices: Sequence[NDArray[Any]],
    source: Path,
    axis: int,
    orientation: str = "",
) -> None:
    """Write slices (H, W) of ``source`` as a volume, gzipped if ``path`` ends in .gz.

    Args:
        slices: all along ``axis``, in order, of uint8 or float32.
        orientation: of the stored axes of ``source``, where it does not say it.
    """
    about = geometry(source, source.name, orientation or CANONICAL)
    voxels_XYZ = np.stack([slice_HW.T for slice_HW in slices], axis=axis)
    assert voxels_XYZ.shape == about.shape
    header = _header(source)
    axes_of_space = header.get_data_shape()[:3]
    ones = (1,) * (len(header.get_data_shape()) - 3)
    kept = ones if math.prod(header.get_data_shape()[3:]) == 1 else ()
    shape = (*axes_of_space, *kept)
    header["dim"] = [len(shape), *shape, *(1,) * (7 - len(shape))]  # set_data_shape resets pixdim
    header.set_data_dtype(voxels_XYZ.dtype)
    for name, value in {"scl_slope": 1, "scl_inter": 0, "cal_min": 0, "cal_max": 0}.items():
        header[name] = value
    start = header.sizeof_hdr + 4  # no extensions
    header["vox_offset"] = start
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else b"n+2"
    stored = _stored(voxels_XYZ, about.orientation).astype(header.get_data_dtype(), copy=False)
    content = header.binaryblock + bytes(4) + stored.tobytes(order="F")
    with replacing(path) as file:
        if path.name.endswith(".gz"):
            content = gzip.compress(content, FAST, mtime=0)
        file.write(content)


def _header(path: Path) -> Any:
    """A file's header as it is, without nibabel's repairs."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
        file.seek(0)
        start = (gzip.GzipFile(fileobj=file) if compressed else file).read(540)
    sizes = (int.from_bytes(start[:4], order) for order in ("little", "big"))
    kind: Any = next(HEADERS[size] for size in sizes if size in HEADERS)
    return kind(start[: kind.sizeof_hdr], check=False)


def _stored(voxels_XYZ: NDArray[Any], orientation: str) -> NDArray[Any]:
    """Voxels along the stored axes: undoes ``geometry.turned``."""
    axes = stored_axes(orientation)
    steps = tuple(slice(None, None, -1 if flipped else 1) for _, flipped in axes)
    return voxels_XYZ[steps].transpose(np.argsort([j for j, _ in axes]))
