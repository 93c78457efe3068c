"""The files of a patient lie in one place by their affines, however their voxels are stored."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import find_slices, scan
from brainseg.data.quality.check import check
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.table import CUT
from tests.support.nifti_bytes import FLIPS, Nifti, stored_as
from tests.support.scans import noise, problems

Flips = tuple[tuple[int, ...], tuple[int, ...]]
IMAGE, SECOND, MASK = noise(6, 7, 4), noise(7, 6, 4).transpose(1, 0, 2), np.zeros((6, 7, 4), "u1")
MASK[1:3, 2, 1] = MASK[4, 5:, 2] = 1
COS, SIN = np.cos(0.06), np.sin(0.06)
AFFINE = np.array([[COS, -SIN, 0, -90], [SIN, COS, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]])
AFFINE = AFFINE * [0.8, 0.9, 5, 1]
USUAL = Nifti()
AS_IT_IS: Flips = ((0, 1, 2), (1, 1, 1))
LPS: Flips = ((0, 1, 2), (-1, -1, 1))
RULE = "a patient's volumes must lie in one place, corners to a tenth of a voxel, P/"
MEND = "; resample it to that grid, or copy that volume's affine if only the header is wrong"


def write(
    root: Path,
    *flips: Flips,
    mask: Nifti = USUAL,
    place: NDArray[np.float64] = AFFINE,
    image: Nifti = USUAL,
) -> Path:
    """A patient of two channels and a mask, each stored in its own way; ``place`` the mask's."""
    (root / "P").mkdir(parents=True)
    files = ("a.nii", IMAGE, AFFINE, image), ("b.nii", SECOND, AFFINE, image)
    for (name, voxels, affine, how), flip in zip(
        (*files, ("seg.nii", MASK, place, mask)), flips, strict=True
    ):
        (root / "P" / name).write_bytes(how.write(*stored_as(voxels, affine, *flip)))
    return root


def slices(root: Path) -> tuple[pd.DataFrame, list[NDArray[np.uint8]]]:
    """The table, and of each row image and mask."""
    table = find_slices(root)
    cuts = table[list(CUT)].itertuples(index=False, name=None)
    return table, [
        np.concatenate([read_image(root, image, *cut), read_mask(root, mask, *cut)[..., None]], 2)
        for image, mask, cut in zip(table["image"], table["mask"], cuts, strict=True)
    ]


def test_a_head_gives_the_same_slices_in_any_orientation_of_each_of_its_files(
    tmp_path: Path,
) -> None:
    table, expected = slices(write(tmp_path / "usual", AS_IT_IS, AS_IT_IS, AS_IT_IS))
    assert np.array_equal(expected[1][..., 0], IMAGE[..., 1].T)
    assert np.array_equal(expected[1][..., 2], MASK[..., 1].T)
    ways = [*FLIPS, *FLIPS[:2]]
    for number, flips in enumerate(zip(ways, ways[1:], ways[2:], strict=False)):
        other, found = slices(write(tmp_path / str(number), *flips))
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
        columns = table.columns.difference(["orientation"])
        pd.testing.assert_frame_equal(other[columns], table[columns])
    assert check(tmp_path / "usual").problems == []


def moved(by: float) -> NDArray[np.float64]:
    place = AFFINE.copy()
    place[1, 3] += by
    return place


def turned(degrees: float) -> NDArray[np.float64]:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    place = np.eye(4)
    place[:2, :2] = [[cos, -sin], [sin, cos]]
    return np.asarray(place @ AFFINE)


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (moved(30), "seg.nii lies up to 30 mm from P/a.nii (0.08 mm is allowed)"),
        (moved(0.2), "seg.nii lies up to 0.2 mm from P/a.nii (0.08 mm is allowed)"),
        (turned(29), "seg.nii lies up to 77.5 mm from P/a.nii (0.08 mm is allowed)"),
        (
            AFFINE * [1, 1, 0.5, 1],
            "seg.nii has voxels of 0.8 x 0.9 x 2.5 mm, P/a.nii of 0.8 x 0.9 x "
            "5, and lies up to 7.5 mm away (0.08 mm is allowed)",
        ),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused_with_its_distance(
    tmp_path: Path, place: NDArray[np.float64], fault: str
) -> None:
    assert problems(write(tmp_path, AS_IT_IS, LPS, LPS, place=place)) == [f"{RULE}{fault}{MEND}"]


def test_headers_that_are_rounded_lie_in_one_place(tmp_path: Path) -> None:
    write(tmp_path, AS_IT_IS, AS_IT_IS, LPS, place=AFFINE.round(3) + 0.001)
    assert not problems(tmp_path)


def test_a_mask_without_place_is_stored_as_its_image_is(tmp_path: Path) -> None:
    nowhere = Nifti(sform=0, pixdim=(1, 1, 1))
    table, found = slices(write(tmp_path / "a", LPS, LPS, LPS, mask=nowhere))
    assert set(table["orientation"]) == {"LPS"}
    _, expected = slices(write(tmp_path / "b", LPS, LPS, LPS))
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    [note] = [note for note in check(tmp_path / "a").notes if "where it lies" in note]
    assert note.endswith("in 1 file: P/seg.nii")
    other = replace(nowhere, pixdim=(1, 1, 3))
    assert problems(write(tmp_path / "c", LPS, LPS, LPS, mask=other)) == [
        f"{RULE}seg.nii has voxels of 1 x 1 x 3 mm, P/a.nii of 0.8 x 0.9 x 5{MEND}"
    ]


def test_volumes_without_any_place_are_paired_as_they_are_stored(tmp_path: Path) -> None:
    nowhere = Nifti(sform=0)
    write(tmp_path, LPS, LPS, LPS, mask=nowhere, image=nowhere)
    table, found = slices(tmp_path)
    assert set(table["orientation"]) == {""}
    assert np.array_equal(found[1][..., 0], stored_as(IMAGE, AFFINE, *LPS)[0][..., 1].T)
    assert any("in 3 files: P/a.nii; P/b.nii; P/seg.nii" in note for note in check(tmp_path).notes)


def test_files_of_other_shapes_are_refused_by_their_canonical_axes(tmp_path: Path) -> None:
    write(tmp_path, *[((2, 0, 1), (1, -1, 1))] * 3)
    (tmp_path / "P" / "seg.nii").write_bytes(Nifti().write(MASK[:5], AFFINE))
    assert problems(tmp_path) == [f"{RULE}seg.nii is 5 x 7 x 4 voxels, P/a.nii is 6 x 7 x 4{MEND}"]


def test_what_a_header_says_twice_is_a_note_with_the_file_and_numbers(tmp_path: Path) -> None:
    write(tmp_path, AS_IT_IS, AS_IT_IS, AS_IT_IS, mask=Nifti(pixdim=(1, 1, 1)))
    assert scan(tmp_path).notes == {
        "pixdim and the affine disagree on the voxels' size, the affine counts": [
            "P/seg.nii (pixdim 1 x 1 x 1 mm, affine 0.8 x 0.9 x 5 mm)"
        ]
    }
    ml = check(tmp_path).summary["tumour_volume"]["P"]
    assert ml == pytest.approx(4 * 0.8 * 0.9 * 5 / 1000)


def test_slices_of_a_volume_lie_one_above_the_other(tmp_path: Path) -> None:
    table, found = slices(write(tmp_path, LPS, LPS, LPS))
    assert table["slice"].tolist() == [1, 2, 3, 4]
    assert not any(np.array_equal(a, b) for a, b in pairwise(found))


def test_a_spacing_of_the_manifest_that_the_affine_denies_is_told(tmp_path: Path) -> None:
    write(tmp_path, AS_IT_IS, AS_IT_IS, AS_IT_IS)
    row = "P/a.nii|P/b.nii,P/seg.nii,P,{}\n"
    (tmp_path / "m.csv").write_text("image,mask,patient,spacing\n" + row.format("1x1x1"))
    assert scan(tmp_path).notes == {
        "the manifest and the affine disagree on the spacing, the manifest counts": [
            "P/a.nii|P/b.nii (manifest 1 x 1 x 1 mm, affine 0.9 x 0.8 x 5 mm)"
        ]
    }
    (tmp_path / "m.csv").write_text("image,mask,patient,spacing\n" + row.format("0.9x0.8x5"))
    assert not scan(tmp_path).notes
