"""A header that says two things is told, one that places no voxels is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.readers import nifti
from brainseg.data.readers.geometry import Geometry, orientation_of
from tests.support.nifti_bytes import Nifti
from tests.support.scans import noise, refused_reading

Affine = NDArray[np.float64]
THICK = np.diag([0.8, 0.9, 5.0, 1.0])


def geometry(folder: Path, file: Nifti, affine: Affine = THICK) -> Geometry:
    (folder / "a.nii").write_bytes(file.write(noise(4, 5, 3), affine))
    return nifti.geometry(folder / "a.nii", "a.nii")


def refused(folder: Path, file: Nifti, affine: Affine = THICK) -> str:
    (folder / "a.nii").write_bytes(file.write(noise(4, 5, 3), affine))
    return refused_reading(lambda root, name: nifti.geometry(root / name, name), folder, "a.nii")


def changed(row: int, column: int, value: float) -> Affine:
    affine = THICK.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize("version", [1, 2])
def test_where_pixdim_and_affine_disagree_the_affine_counts_and_both_are_told(
    tmp_path: Path, version: int
) -> None:
    about = geometry(tmp_path, Nifti(version=version, pixdim=(1, 1, 1)))
    assert about.slice_spacing_mm == pytest.approx((0.9, 0.8, 5))
    assert about.notes == (
        (
            "pixdim and the affine disagree on the voxels' size, the affine counts",
            "pixdim 1 x 1 x 1 mm, affine 0.8 x 0.9 x 5 mm",
        ),
    )
    assert geometry(tmp_path, Nifti(version=version, pixdim=(0, 0, 0))).notes


def test_spacings_that_are_rounded_are_those_of_pixdim(tmp_path: Path) -> None:
    about = geometry(tmp_path, Nifti(pixdim=(0.8001, 0.9, 5)))
    assert about.spacing_mm == pytest.approx((0.8001, 0.9, 5), abs=1e-7)
    assert not about.notes


def test_where_sform_and_qform_disagree_the_sform_counts(tmp_path: Path) -> None:
    about = geometry(tmp_path, Nifti(qform=1, origin=(0, 30, 0)))
    assert np.allclose(about.affine, THICK)
    what = "sform and qform place a volume differently, the sform counts"
    assert about.notes == ((what, "up to 30 mm apart"),)
    assert not geometry(tmp_path, Nifti(qform=1)).notes
    what = "the qform is no rotation, the sform counts"
    assert geometry(tmp_path, Nifti(qform=1, quaternion=(2, 3, 4))).notes == ((what, ""),)


def test_without_sform_the_qform_counts(tmp_path: Path) -> None:
    half_turn = Nifti(sform=0, qform=1, quaternion=(0, 0, 1), origin=(1, 2, 3))
    about = geometry(tmp_path, half_turn)
    assert (about.orientation, about.placed) == ("LPS", True)
    assert np.allclose(about.affine[:3, 3], [1 - 3 * 0.8, 2 - 4 * 0.9, 3])


def test_a_sheared_volume_is_told_and_its_voxels_are_as_large_as_they_are(tmp_path: Path) -> None:
    about = geometry(tmp_path, Nifti(), changed(1, 2, 2.0))
    what = "a volume's axes are not at right angles, its slices are shown as stored"
    assert about.notes == ((what, "off by 21.8 degrees"),)
    assert np.prod(about.slice_spacing_mm) == pytest.approx(0.8 * 0.9 * 5)


def test_a_volume_without_place_is_taken_as_it_is_stored(tmp_path: Path) -> None:
    about = geometry(tmp_path, Nifti(sform=0, qform=0, pixdim=(1, 2, 3)))
    assert (about.placed, about.orientation, about.axis) == (False, "RAS", 2)
    assert about.spacing_mm == (1, 2, 3)
    assert "does not say where it lies" in about.notes[0][0]


@pytest.mark.parametrize(
    ("affine", "why"),
    [
        (changed(0, 0, np.nan), "holds numbers that are not finite"),
        (changed(1, 1, np.inf), "holds numbers that are not finite"),
        (changed(2, 2, 0), "spans no space (columns of 0.8 x 0.9 x 0 mm)"),
        (np.ones((4, 4)), "spans no space (columns of 1.73205 x 1.73205 x 1.73205 mm)"),
    ],
)
def test_an_affine_that_places_no_voxels_is_refused(
    tmp_path: Path, affine: Affine, why: str
) -> None:
    assert refused(tmp_path, Nifti(), affine) == (
        f"a volume's affine must place its voxels, a.nii has one (sform) that {why}; "
        "correct its header, or convert the scan again"
    )


@pytest.mark.parametrize("codes", [(0, 0), (0, 1)])
def test_a_size_that_only_pixdim_knows_must_be_above_0(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    file = Nifti(sform=codes[0], qform=codes[1], pixdim=(1, 0, 1))
    message = "voxels must have a size above 0 mm, a.nii has 1 x 0 x 1 mm; save it with its spacing"
    assert refused(tmp_path, file) == message


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (Nifti(offset=-352), "its header says that voxels start at byte 0"),
        (Nifti(magic=b"ni1"), "it is the header of a pair, its voxels lie in an .img file"),
        (Nifti(sform=0, qform=1, quaternion=(2, 3, 4)), "w2 should be positive"),
    ],
)
def test_voxels_that_cannot_be_found_are_refused(tmp_path: Path, file: Nifti, why: str) -> None:
    assert f"a.nii cannot be decoded ({why}" in refused(tmp_path, file)


def test_a_volume_of_one_slice_is_cut_across_its_only_voxel(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(Nifti().write(noise(4, 1, 3), np.diag([1.0, 1, 5, 1])))
    assert nifti.geometry(tmp_path / "a.nii", "a.nii").axis == 1


def test_a_volume_turned_by_half_a_right_angle_has_one_orientation_however_it_is_rounded() -> None:
    turned = np.eye(4)
    turned[:2, :2] = np.array([[1, -1], [1, 1]]) * 0.5**0.5
    rounded = [turned + change * np.eye(4) for change in (-1e-5, 0, 1e-5)]
    assert len({orientation_of(affine) for affine in rounded}) == 1
