"""Any NIfTI file is read as it was written, wherever its axes point, or refused by its name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainseg.data.readers import nifti
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.problems import Refused
from tests.support.nifti_bytes import CODES, FLIPS, Nifti, stored_as
from tests.support.scans import noise

EXAMPLES, DAMAGED = 400, 400


def rotation(angles: tuple[float, ...]) -> NDArray[np.float64]:
    """Turned about each axis, by less than 20 degrees, so that the nearest axes are known."""
    (a, b, c), (d, e, f) = np.cos(angles), np.sin(angles)
    X = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
    Y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
    Z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
    turned: NDArray[np.float64] = X @ Y @ Z
    return turned


@st.composite
def volumes(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels by canonical axes, of one channel or several, and their affine."""
    shape = draw(st.tuples(*[st.integers(2, 5)] * 3, st.integers(1, 4)))
    voxels = noise(*shape, dtype=draw(st.sampled_from(sorted(CODES))))
    if voxels.dtype.kind in "iu" and voxels.itemsize == 8:
        voxels >>= 16  # scaled, they stay below picture.LARGEST
    spacing = draw(st.permutations([0.5, 0.9, 5.0]) | st.just([1.0, 1.0, 1.0]))
    affine = np.eye(4)
    angles = draw(st.tuples(*[st.floats(-0.15, 0.15)] * 3))
    affine[:3, :3] = rotation(angles) * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200, width=32)] * 3))
    return (voxels if shape[3] > 1 else voxels[..., 0]), affine


files = st.builds(
    Nifti,
    version=st.sampled_from([1, 2]),
    order=st.sampled_from("<>"),
    units=st.sampled_from([1, 2, 3]),
    slope=st.sampled_from([0.0, 1.0, 0.25, -2.0, float("nan")]),
    inter=st.sampled_from([0.0, 3.0]),
    offset=st.sampled_from([0, 16, 400]),
    compress=st.booleans(),
)


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(volumes(), files, st.sampled_from(FLIPS), st.booleans())
def test_any_volume_gives_the_slices_of_its_canonical_axes(
    tmp_path_factory: pytest.TempPathFactory,
    volume: tuple[NDArray[Any], NDArray[np.float64]],
    file: Nifti,
    flips: tuple[tuple[int, ...], tuple[int, ...]],
    apart: bool,
) -> None:
    voxels, affine = volume
    stored, stored_affine = stored_as(voxels, affine, *flips)
    if apart and voxels.ndim == 4:
        stored = stored[:, :, :, None]  # channels along the fifth axis, as ITK writes vectors
    name = "a.nii.gz" if file.compress else "a.nii"
    path = tmp_path_factory.mktemp("volume") / name
    path.write_bytes(file.write(stored, stored_affine))
    about = nifti.geometry(path, name)
    channels = voxels.shape[3] if voxels.ndim == 4 else 1
    assert (about.shape, about.channels, about.placed) == (voxels.shape[:3], channels, True)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    assert about.spacing_mm == pytest.approx(tuple(sides), rel=1e-3)
    assert np.allclose(about.affine, affine, atol=0.01)
    assert not about.notes
    index = voxels.shape[about.axis] - 1
    expected = np.take(voxels, index, about.axis).reshape(*_plane(about), channels).swapaxes(0, 1)
    image_HWC = read_image(path.parent, name, index, about.axis)
    if np.isfinite(file.slope) and file.slope and (file.slope, file.inter) != (1.0, 0.0):
        scaled = expected * np.float64(file.slope) + file.inter
        assert image_HWC == pytest.approx(scaled.astype(np.float32), rel=1e-5)
    else:
        assert image_HWC.dtype == voxels.dtype and image_HWC.dtype.isnative
        assert np.array_equal(image_HWC, expected)


def _plane(about: Any) -> tuple[int, ...]:
    return tuple(length for axis, length in enumerate(about.shape) if axis != about.axis)


def cut_short(content: bytes, at: float) -> bytes:
    return content[: int(at * len(content))]


def flipped(content: bytes, at: float) -> bytes:
    spoiled = bytearray(content)
    spoiled[int(at * (len(content) - 1))] ^= 1 << int(at * 1e6) % 8
    return bytes(spoiled)


def in_its_header(content: bytes, at: float) -> bytes:
    return flipped(content[:348], at) + content[348:]


@settings(max_examples=DAMAGED, derandomize=True, deadline=None)
@given(
    files,
    st.lists(
        st.tuples(st.sampled_from([cut_short, flipped, in_its_header]), st.floats(0, 1)),
        min_size=1,
        max_size=3,
    ),
)
def test_a_damaged_volume_is_an_array_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    file: Nifti,
    harms: list[tuple[Callable[[bytes, float], bytes], float]],
) -> None:
    content = replace(file, compress=False).write(noise(3, 4, 5), np.diag([1.0, 1, 5, 1]))
    for harm, at in harms:
        content = harm(content, at) or b"\0"
    path = tmp_path_factory.mktemp("damaged") / "a.nii"
    path.write_bytes(content)
    for read in (read_image, read_mask):
        try:
            axis = nifti.geometry(path, "a.nii").axis
            assert isinstance(read(path.parent, "a.nii", 0, axis), np.ndarray)
        except Refused as refusal:
            assert refusal.problem.file == "a.nii"
