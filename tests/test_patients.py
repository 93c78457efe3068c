"""A folder becomes the table it holds or one sentence; a split keeps patients and tumour apart."""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from brainseg.patients import (
    find_slices,
    fingerprint,
    read_image,
    read_mask,
    split_by_patient,
    split_by_slice,
)

Splitter = Callable[..., pd.Series]


def write_slice(
    root: Path, patient: str, number: int, tumour_pixels: int = 0, top: int = 255
) -> tuple[Path, Path]:
    """One 8x10 slice in the LGG layout; returns the paths of the image and of its mask."""
    (root / patient).mkdir(parents=True, exist_ok=True)
    mask_HW = np.zeros((8, 10), np.uint8)
    mask_HW.flat[:tumour_pixels] = top
    image_HWC = np.full((8, 10, 3), number % 256, np.uint8)
    image = root / patient / f"{patient}_{number}.tif"
    mask = image.with_name(f"{image.stem}_mask.tif")
    cv2.imwrite(str(image), image_HWC)
    cv2.imwrite(str(mask), mask_HW)
    return image, mask


def made_up_table(slices_per_patient: dict[str, list[int]]) -> pd.DataFrame:
    """A table without files: the tumour pixels of each slice of each patient."""
    rows = [
        (patient, number, f"{patient}_{number}.tif", f"{patient}_{number}_mask.tif", area)
        for patient, areas in slices_per_patient.items()
        for number, area in enumerate(areas, 1)
    ]
    table = pd.DataFrame(rows, columns=["patient", "slice", "image", "mask", "tumour_pixels"])
    table["tumour"] = (table["tumour_pixels"] > 0).astype(int)
    return table


def growing(count: int) -> pd.DataFrame:
    """`count` patients of three slices, one of them with tumour, each with more than the last."""
    return made_up_table({f"p{i:03}": [0, 10 * (i + 1), 0] for i in range(count)})


def test_the_table_has_a_row_for_each_slice_in_numeric_order(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write_slice(tmp_path, "b", number)
    write_slice(tmp_path, "a", 7, tumour_pixels=3)
    table = find_slices(tmp_path)
    assert list(table) == ["patient", "slice", "image", "mask", "tumour", "tumour_pixels"]
    assert table.values.tolist() == [
        ["a", 7, "a/a_7.tif", "a/a_7_mask.tif", 1, 3],
        ["b", 1, "b/b_1.tif", "b/b_1_mask.tif", 0, 0],
        ["b", 9, "b/b_9.tif", "b/b_9_mask.tif", 0, 0],
        ["b", 10, "b/b_10.tif", "b/b_10_mask.tif", 0, 0],
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
    cv2.imwrite(str(mask.with_suffix(".png")), read_mask(mask))
    mask.unlink()
    image.rename(image.with_suffix(".TIF"))
    assert find_slices(tmp_path)[["image", "mask"]].values.tolist() == [
        ["p/p_1.TIF", "p/p_1_mask.png"]
    ]


def test_names_may_hold_spaces_commas_markup_and_umlauts(tmp_path: Path) -> None:
    write_slice(tmp_path, "Jürgen, <b>1\n", 1)
    assert find_slices(tmp_path)["patient"].tolist() == ["Jürgen, <b>1\n"]


def refused(root: Path) -> str:
    with pytest.raises(ValueError) as error:
        find_slices(root)
    return str(error.value)


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "no") == (
        f"root must be a folder of slices, {tmp_path}/no does not exist; give the path of one"
    )


def test_a_file_as_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a directory" in refused(tmp_path / "file")


def test_an_empty_root_is_refused_with_the_layout(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "root must hold slices as <PATIENT>/<PATIENT>_<n>.tif with <PATIENT>_<n>_mask.tif "
        f"beside it, {tmp_path} holds none; check the path"
    )


def test_images_without_masks_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    write_slice(tmp_path, "p", 9)
    for number in range(1, 6):
        write_slice(tmp_path, "p", number)[1].unlink()
    assert refused(tmp_path) == (
        "an image must have its mask beside it, 5 have none: "
        f"{tmp_path}/p/p_1, {tmp_path}/p/p_2, {tmp_path}/p/p_3, ...; "
        "add the mask, or remove the file"
    )


def test_a_mask_without_image_is_named(tmp_path: Path) -> None:
    write_slice(tmp_path, "p", 1)[0].unlink()
    assert refused(tmp_path) == (
        f"a mask must have its image beside it, 1 have none: {tmp_path}/p/p_1; "
        "add the image, or remove the file"
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b"II*\0 no image", "cannot be decoded")]
)
def test_a_mask_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    mask = write_slice(tmp_path, "p", 1)[1]
    mask.write_bytes(content)
    assert refused(tmp_path) == (
        f"every image and mask must be readable, {mask} {reason}; restore it, or remove the slice"
    )


def test_a_truncated_mask_is_refused_not_filled_up(tmp_path: Path) -> None:
    mask = write_slice(tmp_path, "p", 1, tumour_pixels=9)[1]
    mask.write_bytes(mask.read_bytes()[:-40])
    assert f"{mask} cannot be decoded" in refused(tmp_path)


def test_a_mask_of_grey_levels_is_refused_with_its_histogram(tmp_path: Path) -> None:
    mask = write_slice(tmp_path, "p", 1, tumour_pixels=2)[1]
    mask_HW = np.zeros((8, 10), np.uint8)
    mask_HW[0, :3] = 255, 128, 128
    cv2.imwrite(str(mask), mask_HW)
    assert refused(tmp_path) == (
        f"a mask must hold 0 and 1, or 0 and 255, or 0 alone, {mask} holds "
        "0 (77 px), 128 (2 px), 255 (1 px); threshold it, or redraw it"
    )


def test_a_mask_that_is_tumour_everywhere_is_refused(tmp_path: Path) -> None:
    mask = write_slice(tmp_path, "p", 1, tumour_pixels=80)[1]
    assert f"{mask} holds 255 (80 px)" in refused(tmp_path)


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    mask = write_slice(tmp_path, "p", 1)[1]
    cv2.imwrite(str(mask), np.zeros((8, 10, 3), np.uint8))
    assert refused(tmp_path) == (
        f"a mask must hold 1 channel of 8 bits, {mask} holds 8x10x3 uint8; convert to 8-bit grey"
    )


def test_one_slice_in_two_folders_is_refused(tmp_path: Path) -> None:
    write_slice(tmp_path / "copy", "p", 1)
    write_slice(tmp_path, "p", 1)
    assert refused(tmp_path) == (
        "a patient must have one slice of each number, 2 rows share one, as copy/p/p_1.tif and "
        "p/p_1.tif; remove or rename one"
    )


def test_one_slice_in_two_formats_is_refused(tmp_path: Path) -> None:
    image = write_slice(tmp_path, "p", 1)[0]
    cv2.imwrite(str(image.with_suffix(".png")), np.zeros((8, 10, 3), np.uint8))
    assert refused(tmp_path).startswith("a slice must be one file, got ")


def test_a_name_without_number_is_refused(tmp_path: Path) -> None:
    image, mask = write_slice(tmp_path, "p", 1)
    image.rename(image.with_name("last.tif"))
    mask.rename(image.with_name("last_mask.tif"))
    assert refused(tmp_path).startswith(
        f"the name of a slice must end in its number, got {tmp_path}/p/last.tif; rename it like "
    )


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    image = write_slice(tmp_path, "p", 1)[0]
    os.rename(image, os.fsencode(image.parent) + b"/p\xe9_1.tif")
    assert refused(tmp_path) == f"a path must be UTF-8 text, got {tmp_path}/p/p?_1.tif; rename it"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_link_that_leaves_the_root_is_refused(tmp_path: Path, kind: str) -> None:
    outside, _ = write_slice(tmp_path / "elsewhere", "q", 1)
    root = tmp_path / "root"
    write_slice(root, "p", 1)
    link = root / "q" if kind == "folder" else root / "p" / "p_2.tif"
    link.symlink_to(outside.parent if kind == "folder" else outside)
    assert refused(root).startswith(f"a link must stay inside {root}, {link} leads to ")


def test_a_root_that_is_a_link_itself_is_followed(tmp_path: Path) -> None:
    write_slice(tmp_path / "real", "p", 1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(find_slices(tmp_path / "link")) == 1


def test_an_image_is_read_in_the_channel_order_of_the_file(tmp_path: Path) -> None:
    red_green_blue = np.tile(np.array([10, 20, 30], np.uint8), (4, 4, 1))
    cv2.imwrite(str(tmp_path / "a.tif"), red_green_blue[..., ::-1])
    assert np.array_equal(read_image(tmp_path / "a.tif"), red_green_blue)


def test_a_read_mask_holds_zeros_and_ones(tmp_path: Path) -> None:
    mask = write_slice(tmp_path, "p", 1, tumour_pixels=4)[1]
    mask_HW = read_mask(mask)
    assert (str(mask_HW.dtype), mask_HW.max(), mask_HW.sum()) == ("uint8", 1, 4)


def test_the_fingerprint_stays_until_a_file_changes(tmp_path: Path) -> None:
    image, _ = write_slice(tmp_path, "p", 1)
    write_slice(tmp_path, "p", 2)
    table = find_slices(tmp_path)
    before = fingerprint(table, tmp_path)
    assert re.fullmatch("[0-9a-f]{16}", before)
    assert fingerprint(find_slices(tmp_path), tmp_path) == before
    assert fingerprint(table[:1], tmp_path) != before
    os.utime(image, ns=(1, 1))
    assert fingerprint(table, tmp_path) != before


def test_a_fingerprint_of_a_vanished_file_names_it(tmp_path: Path) -> None:
    image, _ = write_slice(tmp_path, "p", 1)
    table = find_slices(tmp_path)
    image.unlink()
    with pytest.raises(ValueError, match=f"{image} is not .No such file or directory.; restore"):
        fingerprint(table, tmp_path)


def test_no_patient_is_in_two_parts() -> None:
    table = growing(30)
    split = split_by_patient(table)
    assert (split.groupby(table["patient"]).nunique() == 1).all()


def test_patients_are_counted_by_rounded_fractions() -> None:
    table = growing(24)
    counts = table["patient"].groupby(split_by_patient(table)).nunique()
    assert counts.to_dict() == {"train": 17, "validation": 5, "test": 2}


def test_one_patient_validates_even_where_the_fraction_rounds_to_none() -> None:
    table = growing(2)
    counts = table["patient"].groupby(split_by_patient(table, test=0)).nunique()
    assert counts.to_dict() == {"train": 1, "validation": 1}


@pytest.mark.parametrize("seed", range(5))
def test_each_stratum_of_tumour_volume_gives_one_patient(seed: int) -> None:
    table = growing(50)
    split = split_by_patient(table, test=0.1, validation=0.2, seed=seed)
    rank = table["patient"].str[1:].astype(int)
    tested = sorted(rank[split == "test"].unique())
    assert [r // 10 for r in tested] == [0, 1, 2, 3, 4]
    rest = sorted(set(rank) - set(tested))
    validated = [rest.index(r) for r in sorted(rank[split == "validation"].unique())]
    strata = np.array_split(np.arange(45), 10)
    assert all(v in stratum for v, stratum in zip(validated, strata, strict=True))


def test_the_split_follows_the_seed_and_the_patients_not_the_order_of_rows() -> None:
    table = growing(30)
    split = split_by_patient(table, seed=3)
    mixed = table.sample(frac=1, random_state=0)
    assert split_by_patient(table, seed=3).equals(split)
    assert split_by_patient(mixed, seed=3).sort_index().equals(split)
    assert not split_by_patient(table, seed=4).equals(split)


def test_the_slice_wise_split_has_the_sizes_of_the_report() -> None:
    areas = [0] * 3929
    areas[::3] = [1] * len(areas[::3])
    split = split_by_slice(made_up_table({"p": areas}))
    assert split.value_counts().to_dict() == {"train": 2828, "validation": 708, "test": 393}


@pytest.mark.parametrize("count", [7, 40, 97])
def test_the_slice_wise_split_rounds_up_first_the_test_then_the_validation_part(count: int) -> None:
    table = made_up_table({"p": [1] * count})
    split = split_by_slice(table, validation=0.25, test=0.15, seed=1)
    num_test = math.ceil(0.15 * count)
    assert (split == "test").sum() == num_test
    assert (split == "validation").sum() == math.ceil(0.25 * (count - num_test))


@pytest.mark.parametrize("split", [split_by_patient, split_by_slice])
@pytest.mark.parametrize(
    ("validation", "test"), [(0, 0.1), (1, 0), (0.2, -0.1), (0.6, 0.4), (float("nan"), 0.1)]
)
def test_fractions_that_are_no_shares_are_refused(
    split: Splitter, validation: float, test: float
) -> None:
    message = f"sum below 1, got validation={validation} and test={test}; try 0.2 and 0.1"
    with pytest.raises(ValueError, match=message):
        split(growing(10), validation=validation, test=test)


def test_fractions_that_leave_no_patient_to_train_on_are_refused() -> None:
    message = "one patient must be left to train on, 2 less 1 for validation and 1 for test"
    with pytest.raises(ValueError, match=message):
        split_by_patient(growing(2), validation=0.4, test=0.5)


def test_a_single_patient_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="at least one patient must be left to train on, 1 less 1"):
        split_by_patient(growing(1))


@pytest.mark.parametrize("split", [split_by_patient, split_by_slice])
def test_a_part_without_tumour_is_refused(split: Splitter) -> None:
    table = made_up_table({f"p{i}": [0] for i in range(10)} | {"q": [5]})
    with pytest.raises(ValueError, match="each part must hold a slice with tumour, t"):
        split(table)


def test_the_real_patients_are_found_whole(lgg: Path) -> None:
    table = find_slices(lgg)
    assert (len(table), table["patient"].nunique(), table["tumour"].sum()) == (840, 24, 290)
    assert (table["slice"] == table.groupby("patient").cumcount() + 1).all()
    assert set(split_by_patient(table)) == {"train", "validation", "test"}
