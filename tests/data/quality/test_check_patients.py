"""What a check says of patients: without tumour, unreadable, in two folders, or the same twice."""

import shutil

import cv2
import numpy as np

from brainseg.data.quality.check import check
from tests.support.faults import SHARED, SLICES, Data, change, only, read, reported

KEPT = (
    "count as patients of their own, and every split keeps each such person in one part; if they "
    "are different people, give them other names in a manifest"
)


def test_patients_without_tumour_and_numbers_with_gaps_are_notes(data: Data) -> None:
    for number in range(1, SLICES + 1):
        change(data.mask(4, number), np.zeros_like)
    for path in (data.image(1, 3), data.mask(1, 3), data.image(1, 4), data.mask(1, 4)):
        path.unlink()
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        "1 of 4 patients have no tumour: PHANTOM_0004",
        "slice numbers have gaps in 1 of 4 patients: PHANTOM_0001 lacks 3, 4",
    ]


def test_a_patient_that_cannot_be_read_is_a_problem(data: Data) -> None:
    for path in (data.image(2, 1), data.mask(2, 1)):
        path.rename(data.root / path.name)
    assert only(check(data.root)) == (
        "PHANTOM_0002_1.tif",
        "a slice must lie in its patient's folder",
        "lies in none",
    )


def test_a_slice_without_number_is_a_problem(data: Data) -> None:
    data.image(2, 1).rename(data.image(2, 1).with_name("first.tif"))
    data.mask(2, 1).rename(data.mask(2, 1).with_name("first_mask.tif"))
    assert only(check(data.root))[1] == "the name of a slice must end in its number"


def test_an_image_in_two_patients_is_a_problem(data: Data) -> None:
    shutil.copy(data.image(1, 4), data.image(3, 2))
    file, rule, sentence = only(check(data.root))
    assert (file, rule) == (data.name(data.image(3, 2)), SHARED)
    assert sentence.startswith(f"shows the same as {data.name(data.image(1, 4))}, pixel for pixel")


def test_masks_that_disagree_over_one_image_are_reported(data: Data) -> None:
    shutil.copy(data.image(1, data.with_tumour(1)), data.image(3, 1))
    change(data.mask(3, 1), np.zeros_like)
    assert ", but its mask marks 0 pixels, the other's " in only(check(data.root))[2]


def test_a_patient_in_two_folders_is_found_by_what_it_shows(data: Data) -> None:
    again = data.root / "Someone else"
    again.mkdir()
    for number in range(1, SLICES + 1):
        cv2.imwrite(str(again / f"s{number}.png"), (read(data.image(2, number)) * 0.8).astype("u1"))
        shutil.copy(data.mask(2, number), again / f"s{number}_mask.tif")
    file, rule, sentence = only(check(data.root))
    assert (file, rule) == ("Someone else/s1.png", SHARED)
    assert sentence.startswith("shows the same as PHANTOM_0002/PHANTOM_0002_1.tif, nearly (5 more")


def test_two_folders_of_one_name_are_two_patients_and_a_copy_is_refused(data: Data) -> None:
    shutil.copytree(data.image(2, 1).parent, data.root / "copy" / "PHANTOM_0002")
    findings = check(data.root)
    assert only(findings) == (
        "copy/PHANTOM_0002",
        "a patient must lie in one folder",
        f"and PHANTOM_0002 hold the same {SLICES} images",
    )
    assert findings.notes == [
        "2 patients have equal last folders, as 1 person would: PHANTOM_0002, copy/PHANTOM_0002; "
        f"they {KEPT}"
    ]


def test_an_archive_that_holds_all_its_patients_twice_is_one_problem(data: Data) -> None:
    for number in (1, 2, 3):
        folder = data.image(number, 1).parent
        shutil.copytree(folder, data.root / "kaggle_3m" / folder.name)
    assert only(check(data.root)) == (
        "kaggle_3m",
        "a patient must lie in one folder",
        "and the root hold the same 3 patients (PHANTOM_0001, ...)",
    )


def test_names_that_may_be_one_patient_are_a_note(data: Data) -> None:
    for patient, name in ((1, "CASE_7_20010101"), (2, "case_7_20030303")):
        data.image(patient, 1).parent.rename(data.root / name)
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        "2 patients may be 1 person, by their names (a visit, a date, case): CASE_7_20010101, "
        f"case_7_20030303; they {KEPT}"
    ]


def test_a_slice_that_occurs_twice_in_one_patient_is_a_note(data: Data) -> None:
    for path, again in ((data.image(1, 3), data.image(1, 5)), (data.mask(1, 3), data.mask(1, 5))):
        shutil.copy(path, again)
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        "1 of 24 slices repeat another slice of their patient: "
        f"{data.name(data.image(1, 5))} equals {data.name(data.image(1, 3))}"
    ]


def test_images_in_jpeg_are_told_once_for_all_and_a_mask_in_jpeg_is_a_problem(data: Data) -> None:
    for path in (data.image(1, 1), data.image(2, 3), data.mask(3, 5)):
        cv2.imwrite(str(path.with_suffix(".jpg")), read(path))
        path.unlink()
    findings = check(data.root)
    assert only(findings) == (
        data.name(data.mask(3, 5).with_suffix(".jpg")),
        "a mask must be stored without loss",
        "is compressed with JPEG, which blurs its edge",
    )
    assert findings.notes == [
        "2 of 24 images are JPEG, which changed their pixels: use the originals where they exist: "
        "PHANTOM_0001/PHANTOM_0001_1.jpg, PHANTOM_0002/PHANTOM_0002_3.jpg",
    ]


def test_transparency_that_is_taken_for_a_channel_is_told(data: Data) -> None:
    for patient in (1, 2, 3, 4):
        for number in range(1, SLICES + 1):
            image_HWC = read(path := data.image(patient, number))
            path.unlink()
            opaque = 255 - image_HWC[..., 0]
            cv2.imwrite(str(path.with_suffix(".png")), np.dstack([image_HWC, opaque]))
    findings = check(data.root)
    assert reported(findings) == [] and findings.notes[0].startswith(
        "24 of 24 images hold transparency (alpha), which is used as a channel like the others: "
        "PHANTOM_0001/PHANTOM_0001_1.png, "
    )
