"""A volume gives the slices it was made of, is read once, and is refused where it is none."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from brainseg.data.readers import nifti
from brainseg.data.readers.images import read_image
from brainseg.data.readers.problems import Refused
from tests.support.scans import noise, refused_reading, write_volume


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_gives_the_slices_it_was_made_of(tmp_path: Path, name: str, dtype: type) -> None:
    voxels_SHW = noise(4, 7, 9, dtype=dtype)
    path = write_volume(tmp_path / name, voxels_SHW)
    about = nifti.geometry(path, name)
    assert (about.shape, about.axis, about.channels) == ((9, 7, 4), 2, 1)
    assert about.slice_spacing_mm == pytest.approx((0.9, 0.8, 5.0))
    for index in range(4):
        read = read_image(tmp_path, name, index, 2)
        assert read.dtype == dtype
        assert np.array_equal(read[..., 0], voxels_SHW[index])


def test_a_fourth_axis_holds_channels(tmp_path: Path) -> None:
    voxels_SHWC = noise(4, 7, 9, 3)
    write_volume(tmp_path / "a.nii.gz", voxels_SHWC, spacing_mm=(5.0, 1.0, 1.0))
    assert np.array_equal(read_image(tmp_path, "a.nii.gz", 1, 2), voxels_SHWC[1])


@pytest.mark.parametrize(("thick", "axis"), [(0, 2), (1, 1), (2, 0)])
def test_a_volume_is_cut_along_its_largest_spacing(tmp_path: Path, thick: int, axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[thick] = 4.0
    voxels_SHW = noise(4, 7, 9)
    path = write_volume(tmp_path / "a.nii", voxels_SHW, tuple(spacing))
    about = nifti.geometry(path, "a.nii")
    assert about.axis == axis
    assert about.slice_spacing_mm == (1.0, 1.0, 4.0)
    image_HWC = read_image(tmp_path, "a.nii", 3, axis)
    assert np.array_equal(image_HWC[..., 0], np.take(voxels_SHW, 3, thick))


def test_a_volume_of_equal_spacings_is_cut_along_its_last_axis(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(4, 7, 9), (1.0, 1.001, 1.002))
    assert nifti.geometry(path, "a.nii").axis == 2


def test_spacings_are_in_millimetres_whatever_unit_the_file_uses(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(4, 7, 9), (0.005, 0.001, 0.001))
    image = nibabel.load(path)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "b.nii")
    assert nifti.geometry(tmp_path / "b.nii", "b.nii").spacing_mm == pytest.approx((1, 1, 5))


def test_stored_numbers_that_the_file_scales_are_scaled(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(noise(9, 7, 4).astype(np.float32) / 10, np.diag([1, 1, 5, 1]))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "a.nii")
    read = read_image(tmp_path, "a.nii", 2, 2)[..., 0]
    assert read == pytest.approx(noise(9, 7, 4)[..., 2].T / 10, abs=1e-3)


def test_a_volume_is_read_once_for_all_its_slices(tmp_path: Path) -> None:
    names = [f"{n}.nii.gz" for n in range(5)]
    for name in names:
        write_volume(tmp_path / name, noise(4, 7, 9))
    joined = "|".join(names[:4])
    read_image(tmp_path, joined, 0, 2)
    stat = [os.stat(tmp_path / name) for name in names]
    for name, was in zip(names[:4], stat, strict=False):
        (tmp_path / name).write_bytes(bytes(was.st_size))  # of the same size and age: not looked at
        os.utime(tmp_path / name, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert read_image(tmp_path, joined, 3, 2).shape == (7, 9, 4)
    write_volume(tmp_path / names[0], noise(4, 7, 8))
    assert read_image(tmp_path, names[0], 3, 2).shape == (7, 8, 1)


def test_a_flipped_bit_in_a_compressed_volume_is_noticed(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii.gz", noise(4, 7, 9))
    content = bytearray(path.read_bytes())
    content[-30] ^= 4  # in the stored, incompressible voxels
    path.write_bytes(content)
    assert "a.nii.gz cannot be decoded" in refused_reading(read_image, tmp_path, "a.nii.gz", 0, 2)


def test_a_slice_beyond_the_volume_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii", noise(4, 7, 9))
    assert refused_reading(read_image, tmp_path, "a.nii", 4, 2) == (
        "a volume must not change after it was listed, a.nii has no slice 4 along axis 2; "
        "list the folder again"
    )


def rgb(path: Path) -> None:
    colour = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3), colour), np.eye(4)), path)


def over_time(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3, 60), np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (rgb, "a volume must hold integers or floats, a.nii holds 4 x 5 x 3 "),
        (
            over_time,
            "a volume must have three axes, or four of which the last holds 1 to 4 channels, "
            "a.nii holds ",
        ),
    ],
)
def test_a_volume_of_something_else_is_refused(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "a.nii")
    assert refused_reading(read_image, tmp_path, "a.nii", 0, 2).startswith(message)


@pytest.mark.parametrize("seed", range(60))
def test_a_header_with_any_bytes_spoiled_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    path = write_volume(tmp_path / "a.nii", noise(3, 4, 5))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(4, 352, 6):
        content[at] = rng.integers(256)
    path.write_bytes(content)
    try:
        read_image(tmp_path, "a.nii", 0, nifti.geometry(path, "a.nii").axis)
    except Refused as error:
        assert error.problem.file == "a.nii"


def test_a_volume_is_unpacked_if_it_is_packed_whatever_its_suffix_says(tmp_path: Path) -> None:
    packed, plain = tmp_path / "packed.nii.gz", tmp_path / "plain.nii"
    for path in (packed, plain):
        write_volume(path, noise(4, 7, 9))
    packed.rename(tmp_path / "a.nii")
    plain.rename(tmp_path / "b.nii.gz")
    for name in ("a.nii", "b.nii.gz"):
        assert np.array_equal(read_image(tmp_path, name, 3, 2)[..., 0], noise(4, 7, 9)[3])
