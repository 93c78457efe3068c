"""Masks that are equal to the pixel are told, and link the patients who share them."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from brainseg.data.dataset import read_data
from brainseg.data.formats.detect import read_folder
from brainseg.data.partition import linked_patients
from brainseg.data.quality.check import check
from brainseg.data.quality.shared_masks import mask_notes, patients_of_one_mask
from brainseg.data.readers.masks import SMALLEST, mask_digest
from tests.support.faults import SLICES, Data, read, reported
from tests.support.scans import blob, write_volume


def silent(line: str) -> None:
    pass


def draw_large_masks(data: Data) -> None:
    """Every slice of every patient gets a mask of its own that is large enough to compare."""
    for patient in range(1, 5):
        for number in range(1, SLICES + 1):
            mask_HW = np.zeros_like(read(data.mask(patient, number)))
            mask_HW[5 + patient : 20, 5 + number : 20] = 255
            cv2.imwrite(str(data.mask(patient, number)), mask_HW)


def test_patients_with_an_equal_mask_are_noted_and_linked(data: Data) -> None:
    draw_large_masks(data)
    shutil.copy(data.mask(1, 3), data.mask(2, 5))
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        f"1 mask of two or more patients, equal to the pixel: {data.name(data.mask(1, 3))} in "
        "PHANTOM_0001, PHANTOM_0002; one may be a copy by mistake, or the patients one person. "
        "Every split keeps each such person in one part; if they are different people, give them "
        "other names in a manifest"
    ]
    groups = linked_patients(read_data(str(data.root), "auto", silent), silent)
    assert groups["PHANTOM_0002"] == "PHANTOM_0001"
    assert groups["PHANTOM_0003"] == "PHANTOM_0003"


def test_one_mask_copied_to_all_slices_of_a_patient_is_noted(data: Data) -> None:
    draw_large_masks(data)
    for number in range(2, SLICES + 1):
        shutil.copy(data.mask(1, 1), data.mask(1, number))
    assert check(data.root).notes == [
        "the masks of many slices are equal to the pixel in 1 of 4 patients: PHANTOM_0001 (6 "
        "slices, 1 mask); check that each was drawn for its slice"
    ]


def test_interpolated_neighbours_and_small_or_empty_masks_are_not_noted() -> None:
    table = pd.DataFrame({"patient": ["P1"] * 6 + ["P2"] * 6, "mask": list("abcdefghijkl")})
    assert list(mask_notes(table, ["x", "x", "y", "y", "z", "z", *[""] * 6])) == []
    mask_HW = np.zeros((16, 16), np.uint8)
    mask_HW.flat[: SMALLEST - 1] = 1
    assert mask_digest(mask_HW) == ""
    mask_HW.flat[SMALLEST] = 1
    assert mask_digest(mask_HW) == mask_digest(mask_HW * 255) != mask_digest(mask_HW.T)


def test_an_image_with_a_channel_that_is_its_mask_is_a_problem(data: Data) -> None:
    draw_large_masks(data)
    image, mask = data.image(2, 3), data.mask(2, 3)
    pixels = read(image)
    pixels[..., 2] = 7 + read(mask) // 2
    cv2.imwrite(str(image), pixels)
    ((file, rule, sentence),) = reported(check(data.root))
    assert (file, rule) == (data.name(image), "an image must not show its mask")
    assert f"is {data.name(mask)} in channel 0" in sentence


def test_no_two_real_patients_share_a_mask() -> None:
    real = Path("../shared/lgg/kaggle_3m")
    if not real.is_dir():
        pytest.skip("needs ../shared/lgg")
    contents = read_folder(real)
    assert patients_of_one_mask(contents.table, contents.mask_digests) == []
    assert list(mask_notes(contents.table, contents.mask_digests)) == []


def test_nan_in_the_tumour_is_a_problem_and_around_the_head_a_note(tmp_path: Path) -> None:
    scan = np.random.default_rng(0).random((3, 16, 16), np.float32)
    tumour = np.stack([blob(top=1)] * 2 + [blob() * 0])
    scan[:, :2] = np.nan
    for patient, nan in (("a", False), ("b", True)):
        scan[:2, 6, 6] = np.nan if nan else 1
        write_volume(tmp_path / patient / "scan.nii.gz", scan + (patient == "b"))
        write_volume(tmp_path / patient / "seg.nii.gz", tumour)
    findings = check(tmp_path)
    assert [str(problem) for problem in findings.problems] == [
        "an image must hold numbers in the tumour, b/scan.nii.gz holds NaN where b/seg.nii.gz "
        "marks it; correct what made them, or the mask"
    ]
    padded = "2 of 2 images hold NaN up to a corner: taken as padding, all of it is black: "
    assert f"{padded}a/scan.nii.gz, b/scan.nii.gz" in findings.notes
