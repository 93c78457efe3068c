"""What does not fit a folder of pictures, or a manifest, is a problem, never a guess."""

import os
from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices, scan
from brainseg.data.table import COLUMNS, read_table
from tests.support.scans import (
    blob,
    noise,
    problems,
    write_picture,
    write_slice,
)


def refused(root: Path) -> str:
    with pytest.raises(ValueError) as error:
        find_slices(root)
    return str(error.value)


# LGG


@pytest.mark.parametrize("folder", ["glioma", "x/Meningioma_tumor", "no_tumour", "train", "HGG"])
def test_a_folder_of_a_class_or_part_is_no_patient(tmp_path: Path, folder: str) -> None:
    write_slice(tmp_path, "P1", 1)
    write_picture(tmp_path / folder / "7.tif", noise(8, 8))
    write_picture(tmp_path / folder / "7_mask.tif", blob(8, 8))
    last = folder.rpartition("/")[2]
    assert problems(tmp_path) == [
        f"a folder of slices must be one patient, {folder}/7.tif lies in {last!r}; give each "
        "patient a folder, or list the files in a CSV manifest"
    ]


def test_the_table_has_a_row_for_each_slice_in_numeric_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write_slice(tmp_path, "b", number)
    write_slice(tmp_path, "a", 7, tumour_pixels=3)
    slices = find_slices(tmp_path)
    assert set(slices) == {*COLUMNS, "tumour", "tumour_pixels"}
    columns = ["patient", "slice", "image", "mask", "tumour", "tumour_pixels", "index", "axis"]
    assert slices[columns].values.tolist() == [
        ["a", 7, "a/a_7.tif", "a/a_7_mask.tif", 1, 3, -1, -1],
        ["b", 1, "b/b_1.tif", "b/b_1_mask.tif", 0, 0, -1, -1],
        ["b", 9, "b/b_9.tif", "b/b_9_mask.tif", 0, 0, -1, -1],
        ["b", 10, "b/b_10.tif", "b/b_10_mask.tif", 0, 0, -1, -1],
    ]


def test_masks_of_ones_and_masks_of_255_mean_the_same(tmp_path: Path) -> None:
    write_slice(tmp_path, "p", 1, tumour_pixels=5, top=1)
    write_slice(tmp_path, "p", 2, tumour_pixels=5, top=255)
    assert find_slices(tmp_path)["tumour_pixels"].tolist() == [5, 5]


def test_patients_are_found_at_any_depth_and_other_files_are_left_alone(tmp_path: Path) -> None:
    write_slice(tmp_path / "deep" / "er", "p", 1)
    (tmp_path / "data.csv").write_text("Patient")
    (tmp_path / "deep" / "._p_1_mask.tif").write_bytes(b"left by a Mac")
    assert find_slices(tmp_path)["image"].tolist() == ["deep/er/p/p_1.tif"]


def test_capital_suffixes_and_png_masks_belong_to_their_image(tmp_path: Path) -> None:
    image, mask = write_slice(tmp_path, "p", 1, tumour_pixels=2)
    write_picture(mask.with_suffix(".png"), np.zeros((8, 10), np.uint8))
    mask.unlink()
    image.rename(image.with_suffix(".TIF"))
    assert find_slices(tmp_path)[["image", "mask"]].values.tolist() == [
        ["p/p_1.TIF", "p/p_1_mask.png"]
    ]


def test_names_may_hold_spaces_commas_markup_and_umlauts(tmp_path: Path) -> None:
    write_slice(tmp_path, "Jürgen, <b>1\n", 1)
    slices = find_slices(tmp_path)
    assert slices["patient"].tolist() == ["Jürgen, <b>1\n"]
    slices.to_csv(tmp_path / "slices.csv", index=False)
    assert read_table(tmp_path / "slices.csv")["patient"].tolist() == ["Jürgen, <b>1\n"]


@pytest.mark.parametrize(
    ("patient", "site"),
    [("TCGA_CS_4941_19960909", "CS"), ("TCGA-DU-5849", "DU"), ("PHANTOM_0001", ""), ("NA", "")],
)
def test_the_site_of_a_tcga_patient_is_in_its_name(tmp_path: Path, patient: str, site: str) -> None:
    write_slice(tmp_path, patient, 1)
    slices = find_slices(tmp_path)
    assert slices["site"].tolist() == [site]
    slices.to_csv(tmp_path / "slices.csv", index=False)
    again = read_table(tmp_path / "slices.csv")
    assert again[["patient", "site"]].values.tolist() == [[patient, site]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"II*\0 no image", "cannot be decoded (its header is damaged)")],
)
def test_a_mask_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    write_slice(tmp_path, "p", 1)[1].write_bytes(content)
    assert refused(tmp_path) == (
        f"every image and mask must be readable, p/p_1_mask.tif {reason}; "
        "restore it, or remove the slice"
    )


def test_one_number_twice_in_a_patient_is_a_problem(tmp_path: Path) -> None:
    for number in (1, 2):
        image, mask = write_slice(tmp_path, "p", number)
        for path in (image, mask):
            path.with_name(path.name.replace("p_", "p_0")).write_bytes(path.read_bytes())
    assert problems(tmp_path) == [
        "a patient must have one slice of each number, p/p_1.tif and p/p_01.tif are both "
        "slice 1 of p (4 of its images share a number); remove or rename one, or give different "
        "patients different names"
    ]


def test_one_slice_in_two_formats_is_a_problem(tmp_path: Path) -> None:
    image = write_slice(tmp_path, "p", 1)[0]
    write_picture(image.with_suffix(".png"), noise(8, 10, 3))
    assert problems(tmp_path) == [
        "a slice must be one file, p/p_1.tif and p/p_1.png are the same slice; remove one"
    ]


def test_a_slice_without_number_or_without_patient_is_a_problem(tmp_path: Path) -> None:
    for name in ("p/last", "p_1"):
        write_picture(tmp_path / f"{name}.tif", noise(8, 10, 3))
        write_picture(tmp_path / f"{name}_mask.tif", blob(8, 10))
    lgg = "<PATIENT>/<PATIENT>_<n>.tif with <PATIENT>_<n>_mask.tif beside it"
    assert problems(tmp_path) == [
        f"a slice must lie in its patient's folder, p_1.tif lies in none; move it, as in {lgg}",
        f"the name of a slice must end in its number, p/last.tif does not; rename it like {lgg}",
    ]


def test_a_file_name_that_is_not_valid_text_is_a_problem(tmp_path: Path) -> None:
    write_slice(tmp_path, "p", 2)
    image = write_slice(tmp_path, "p", 1)[0]
    os.rename(image, os.fsencode(image.parent) + b"/p\xe9_1.tif")
    assert problems(tmp_path)[0] == "a path must be UTF-8 text, p/p?_1.tif is not; rename it"


def test_a_file_name_that_contains_the_channel_separator_is_a_problem(tmp_path: Path) -> None:
    write_slice(tmp_path, "p|q", 2)
    write_slice(tmp_path, "p", 2)
    assert problems(tmp_path)[0] == (
        "a path must not contain '|', which joins the files of channels, p|q does; rename it"
    )


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_link_that_leaves_the_root_is_a_problem(tmp_path: Path, kind: str) -> None:
    outside, _ = write_slice(tmp_path / "elsewhere", "q", 1)
    root = tmp_path / "root"
    write_slice(root, "p", 1)
    link, target = root / "q", outside.parent
    if kind == "file":
        link, target = root / "p" / "p_2.tif", outside
    link.symlink_to(target)
    name = link.relative_to(root)
    assert problems(root) == [
        f"every file must lie inside the data folder, {name} leads to {target}; "
        "copy it there, or remove the link"
    ]


def test_a_root_that_is_a_link_itself_is_followed(tmp_path: Path) -> None:
    write_slice(tmp_path / "real", "p", 1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(find_slices(tmp_path / "link")) == 1


def test_the_real_patients_are_found_completely(lgg: Path) -> None:
    slices = find_slices(lgg)
    assert (len(slices), slices["patient"].nunique(), slices["tumour"].sum()) == (840, 24, 290)
    assert (slices["slice"] == slices.groupby("patient").cumcount() + 1).all()
    sites = slices.groupby("patient")["site"].first().value_counts()
    assert sites.to_dict() == {"DU": 9, "HT": 7, "CS": 4, "FG": 3, "EZ": 1}


# images/ and masks/


def write_pair(root: Path, name: str) -> None:
    write_picture(root / "images" / f"{name}.png", noise(16, 16))
    write_picture(root / "masks" / f"{name}.png", blob())


def test_a_file_name_without_patient_or_slice_number_is_a_problem(tmp_path: Path) -> None:
    for name in ("P1_1", "scan7", "12", "P2_1b"):
        write_pair(tmp_path, name)
    listed = problems(tmp_path)
    remedy = "rename it, or list the files in a CSV manifest"
    rule = "the name of a slice must contain its patient, as <PATIENT>_<n>"
    assert listed == [
        f"{rule}, images/12.png does not; {remedy}",
        f"the name of a slice must end in its number, images/P2_1b.png does not; {remedy}",
        f"{rule}, images/scan7.png does not; {remedy}",
    ]


@pytest.mark.parametrize("folder", ["train", "Validation", "test", "fold_3", "Munich/P1"])
def test_a_subfolder_that_is_no_patient_is_a_problem(tmp_path: Path, folder: str) -> None:
    write_pair(tmp_path, f"{folder}/P1_1")
    assert problems(tmp_path) == [
        f"a subfolder must be one patient, images/{folder}/P1_1.png lies in {folder!r}; "
        "rename it, or list the files in a CSV manifest"
    ]


def test_images_and_masks_are_paired_by_subfolder_and_name(tmp_path: Path) -> None:
    write_pair(tmp_path, "a/1")
    write_pair(tmp_path, "b/1")
    (tmp_path / "masks" / "b" / "1.png").unlink()
    assert problems(tmp_path) == [
        "an image must have its mask, images/b/1.png has none; add the mask, or remove the image"
    ]


def test_a_mask_s_name_may_say_that_it_is_one(tmp_path: Path) -> None:
    for name, end in (("P1_1", "_mask"), ("P1_2", "-seg"), ("P2/1", "_Label"), ("P2_3", "")):
        write_picture(tmp_path / "images" / f"{name}.png", noise(16, 16))
        write_picture(tmp_path / "masks" / f"{name}{end}.png", blob())
    write_picture(tmp_path / "masks" / "P2_3_mask.png", blob())
    assert problems(tmp_path) == [
        "a mask must have its image, masks/P2_3_mask.png has none; add the image, or remove the "
        "mask"
    ]
    assert scan(tmp_path).table["patient"].tolist() == ["P1", "P1", "P2", "P2"]
