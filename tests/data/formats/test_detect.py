"""Each layout is found by looking; the same patients are the same in all of them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.cli.main import main
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import LAYOUTS, find_slices, scan
from brainseg.data.readers.images import read_image
from brainseg.data.table import COLUMNS, read_table
from tests.support.scans import (
    as_lgg,
    as_manifest,
    as_nifti,
    as_nnunet,
    as_nnunet_of_pictures,
    as_pairs,
    as_pairs_in_folders,
    noise,
    problems,
    write_picture,
    write_slice,
)

Copy = Callable[[Path, Path], None]


@pytest.fixture(scope="session")
def table(phantoms: Path) -> pd.DataFrame:
    return find_slices(phantoms)


COPIES: list[tuple[Copy, str]] = [
    (as_lgg, "lgg"),
    (as_pairs, "pairs"),
    (as_pairs_in_folders, "pairs"),
    (as_manifest, "manifest"),
    (as_nnunet, "nnunet"),
    (as_nnunet_of_pictures, "nnunet"),
    (as_nifti, "nifti"),
]
each_copy = pytest.mark.parametrize(
    ("copy", "layout"), COPIES, ids=[copy.__name__[3:] for copy, _ in COPIES]
)


# The same patients in every layout


@each_copy
def test_every_layout_of_the_same_patients_is_found_and_holds_the_same(
    tmp_path: Path, phantoms: Path, table: pd.DataFrame, copy: Copy, layout: str
) -> None:
    copy(phantoms, tmp_path / "data")
    slices = find_slices(tmp_path / "data")
    assert scan(tmp_path / "data").layout == layout
    columns = ["patient", "slice", "tumour", "tumour_pixels"]
    pd.testing.assert_frame_equal(slices[columns], table[columns])
    for row in (0, 7, len(table) - 1):
        where = slices["index"][row], slices["axis"][row]
        image_HWC = read_image(tmp_path / "data", slices["image"][row], *where)
        assert np.array_equal(image_HWC, read_image(phantoms, table["image"][row]))


@each_copy
def test_a_layout_that_is_named_is_taken_and_a_table_comes_back_from_its_file_as_it_was(
    tmp_path: Path, phantoms: Path, copy: Copy, layout: str
) -> None:
    copy(phantoms, tmp_path / "data")
    contents = scan(tmp_path / "data", layout)
    slices = contents.table
    assert contents.problems == []
    assert list(slices) == list(COLUMNS)
    slices.to_csv(tmp_path / "slices.csv", index=False)
    again = read_table(tmp_path / "slices.csv")
    pd.testing.assert_frame_equal(again, slices, check_dtype=False)
    assert fingerprint(again, tmp_path / "data") == fingerprint(slices, tmp_path / "data")


def test_volumes_bring_their_spacing_and_pictures_none(tmp_path: Path, phantoms: Path) -> None:
    as_nifti(phantoms, tmp_path / "a")
    as_pairs(phantoms, tmp_path / "b")
    mm = ["row_mm", "column_mm", "slice_mm"]
    assert find_slices(tmp_path / "a")[mm].drop_duplicates().values == pytest.approx(
        np.array([[0.9, 0.8, 5.0]])
    )
    assert find_slices(tmp_path / "b")[mm].isna().all(axis=None)


def refused(root: Path, layout: str = "auto") -> str:
    with pytest.raises(ValueError) as error:
        find_slices(root, layout)
    return str(error.value)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (
            ["P1/P1_1.png", "P1/P1_2.png"],
            "comes nearest to lgg, but holds 2 pictures (P1/P1_1.png, ...) without <name>_mask "
            "beside them",
        ),
        (
            ["P1/flair.nii.gz", "a.png"],
            "comes nearest to nifti, but holds 1 volume (P1/flair.nii.gz) without one named "
            "*mask*, *seg* or *label* in their folder",
        ),
        (
            ["P1/seg.nii.gz", "P1/flair.mgz", "P2/seg.nii.gz", "P2/flair.nrrd"],
            "comes nearest to nifti, but holds 2 masks (P1/seg.nii.gz, ...) and no image (.nii, ",
        ),
        (["images/P1_1.png"], "comes nearest to pairs, but masks/ is missing beside images/"),
        (
            ["x/images/P1_1.png", "x/masks/P1_1.png"],
            "comes nearest to pairs, but images/ and masks/ lie in x/",
        ),
        (
            ["images/P1_1.nii.gz", "masks/P1_1.nii.gz"],
            "comes nearest to pairs, but images/ and masks/ hold volumes: a manifest can list them",
        ),
        (
            [f"{top}/{part}/P1_1.png" for top in ("val", "train") for part in ("images", "masks")],
            "comes nearest to pairs, but images/ and masks/ lie in val/ and 1 more; correct that",
        ),
        (
            ["images/P1_1.png", "Masks/P1_1.png"],
            "comes nearest to pairs, but Masks/ must be called masks/",
        ),
        (
            ["images/P1_1.png", "masks/P1_1.nrrd"],
            "comes nearest to pairs, but masks/ holds no image that can be read",
        ),
        (
            ["Dataset1/imagesTr/P1_0000.png", "Dataset1/labelsTr/P1.png"],
            "comes nearest to nnunet, but imagesTr/ and labelsTr/ lie in Dataset1/",
        ),
        (["imagesTr/P1_0000.nii"], "comes nearest to nnunet, but labelsTr/ is missing beside imag"),
        (
            ["sub-01/anat/sub-01_T1w.nii", "derivatives/sub-01/anat/sub-01_lesion_mask.nii"],
            "comes nearest to nifti, but 1 mask (derivatives/sub-01/anat/sub-01_lesion_mask.nii) "
            "lies in another folder than its image",
        ),
        (
            ["t1/P1.nii", "t1/P2.nii", "segm/P1_segm.nii", "segm/P2_segm.nii"],
            "comes nearest to nifti, but 2 masks (segm/P1_segm.nii, ...) lie in other folders than "
            "their images",
        ),
    ],
)
def test_a_folder_of_no_known_layout_is_refused_with_what_comes_nearest(
    tmp_path: Path, names: list[str], why: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    message = refused(tmp_path)
    assert message.startswith(f"root must hold slices in a known layout, {tmp_path} {why}")
    assert message.endswith(
        "; correct that, check the path, or write a CSV file with columns image, mask, patient"
    )


def test_what_cannot_be_read_at_all_is_to_be_converted_and_links_to_be_fetched(
    tmp_path: Path,
) -> None:
    known = f"root must hold slices in a known layout, {tmp_path} holds"
    assert refused(tmp_path) == f"{known} no file; check the path"
    (tmp_path / "P1.tif").symlink_to(".git/annex/P1.tif")
    assert refused(tmp_path) == (
        f"{known} 1 link that leads nowhere (P1.tif); fetch what the links lead to, as with "
        "datalad get, or check the path"
    )
    (tmp_path / "IM1.dcm").touch()
    assert refused(tmp_path).endswith(
        "; check the path, or convert the files to NIfTI, PNG or TIFF (DICOM: with dcm2niix)"
    )


def test_a_manifest_without_a_column_comes_nearest(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "1.png", noise(8, 8))
    (tmp_path / "scans.csv").write_text("Image;Mask;Patient_ID\na/1.png;a/1.png;P1\n")
    near = "comes nearest to manifest, but scans.csv has no column patient; correct that"
    assert near in refused(tmp_path)


def test_what_keeps_every_layout_from_fitting_is_said(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for patient in ("P1", "P2"):
        write_slice(tmp_path / "elsewhere", patient, 1)
        (root / patient).mkdir(parents=True)
        (root / patient / f"{patient}_1.tif").symlink_to("../.annex/none")
    assert f"{root} holds 2 links that lead nowhere (P1/P1_1.tif, ...); " in refused(root)
    (root / "P3").symlink_to(tmp_path / "elsewhere" / "P1")
    assert refused(root).endswith(
        f"; and every file must lie inside the data folder, P3 leads to {tmp_path}/elsewhere/P1; "
        "copy it there, or remove the link"
    )


def test_of_two_layouts_in_one_folder_one_must_be_named(tmp_path: Path, phantoms: Path) -> None:
    as_pairs(phantoms, tmp_path / "data")
    as_nifti(phantoms, tmp_path / "data")
    assert refused(tmp_path / "data") == (
        f"root must have one layout, {tmp_path}/data looks like pairs (30 files, as "
        "images/PHANTOM_0001_1.png) and nifti (12 files, as PHANTOM_0001/PHANTOM_0001_a_pre.nii.gz)"
        "; choose one with --layout, or move the others out of it"
    )
    assert len(find_slices(tmp_path / "data", "nifti")) == len(find_slices(phantoms))


def test_a_layout_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "dicom") == (
        "a layout must be one of auto, lgg, pairs, manifest, nnunet, nifti, got 'dicom'; use auto"
    )


def test_the_command_line_names_every_layout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    (help_text,) = re.findall(
        r"--layout LAYOUT +(.*?) +--", " ".join(capsys.readouterr().out.split())
    )
    assert [name for name in LAYOUTS if name not in help_text] == []


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == (
        f"root must be a folder of slices, {tmp_path}/no does not exist; give the path of one"
    )
    (tmp_path / "file").touch()
    assert "is not a directory" in refused(tmp_path / "file")


def test_all_problems_are_listed_and_the_error_gives_the_first_and_their_number(
    tmp_path: Path,
) -> None:
    for number in range(1, 7):
        image, mask = write_slice(tmp_path, "p", number)
        if number < 4:
            mask.unlink()
        elif number < 6:
            image.unlink()
    listed = problems(tmp_path)
    assert len(listed) == 5
    assert listed[0] == (
        "an image must have its mask, p/p_1.tif has none; add the mask, or remove the image"
    )
    assert listed[4] == (
        "a mask must have its image, p/p_5_mask.tif has none; add the image, or remove the mask"
    )
    assert refused(tmp_path) == f"{listed[0]} (4 more: brainseg check lists all)"
