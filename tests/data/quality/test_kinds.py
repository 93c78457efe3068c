"""Patients that differ from the others of their set are noted: planes, voxels, types, counts."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from brainseg.data.quality.check import check
from tests.support.faults import reported
from tests.support.scans import write_volume

Spacing = tuple[float, float, float]


def write_patient(
    root: Path,
    patient: str,
    shape: tuple[int, int, int] = (4, 12, 12),
    spacing_mm: Spacing = (5.0, 1.0, 1.0),
    dtype: Any = np.int16,
) -> None:
    """A patient's scan and mask; shape and spacing are of slices, rows, columns."""
    scan = np.random.default_rng(list(map(ord, patient))).integers(0, 1000, shape)
    tumour = np.zeros(shape, np.uint8)
    tumour[1, 4:8, 4:8] = 1
    write_volume(root / patient / "scan.nii.gz", scan.astype(dtype), spacing_mm)
    write_volume(root / patient / "seg.nii.gz", tumour, spacing_mm)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for patient in "abcde":
        write_patient(tmp_path, patient)
    return tmp_path


def notes(root: Path) -> list[str]:
    findings = check(root)
    assert reported(findings) == []
    return findings.notes


def test_patients_of_one_kind_need_no_note(root: Path) -> None:
    assert notes(root) == []


def test_slices_of_another_thickness_and_pixels_of_another_size_are_noted(root: Path) -> None:
    write_patient(root, "f", spacing_mm=(2.0, 0.5, 0.5))
    assert notes(root) == [
        "pixels have 2 sizes: 1 mm x 1 mm (5 patients), 0.5 mm x 0.5 mm (1 patient: f)",
        "slices have 2 distances: 5 mm (5 patients), 2 mm (1 patient: f)",
    ]


def test_spacings_that_differ_by_rounding_are_one(root: Path) -> None:
    write_patient(root, "f", spacing_mm=(5.0001, 1.0002, 0.9999))
    assert notes(root) == []


def test_another_number_type_is_noted(root: Path) -> None:
    write_patient(root, "f", dtype=np.float32)
    assert notes(root) == [
        "images have 2 number types, 8 bits are taken as they are and others are scaled by "
        "patient: int16 (5 patients), float32 (1 patient: f)"
    ]


def test_a_patient_cut_in_another_plane_is_noted(root: Path) -> None:
    write_patient(root, "f", shape=(10, 12, 12), spacing_mm=(1.0, 1.0, 5.0))
    assert notes(root)[0] == (
        "patients are cut in 2 planes: axial (5 patients), sagittal (1 patient: f)"
    )


def test_a_patient_stored_along_other_axes_is_noted(root: Path) -> None:
    for name in ("scan", "seg"):
        path = root / "a" / f"{name}.nii.gz"
        image = nibabel.load(path)
        turned = np.array([[0, 0, 5, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), turned), path)
    said = notes(root)
    stored = "volumes are stored along 2 sets of axes, all are turned to one: RAS (4 patients), "
    assert f"{stored}ASR (1 patient: a)" in said
    assert all(sentence.endswith("(1 patient: a)") for sentence in said)


def test_unusual_numbers_of_slices_are_noted(root: Path) -> None:
    write_patient(root, "f", shape=(13, 12, 12))
    assert notes(root) == [
        "1 of 6 patients have less than a third of the usual number of slices (4), or more than 3 "
        "times as many: f (13)"
    ]


def test_many_kinds_are_counted(root: Path) -> None:
    for n in range(9):
        write_patient(root, f"patient {'xyzuvwrst'[n]}", spacing_mm=(5.0, 0.5 + n / 100, 1.0))
    (sentence,) = notes(root)
    assert sentence.startswith("pixels have 10 sizes: 1 mm x 1 mm (5 patients), 0.5 mm x 1 mm (1 ")
    assert sentence.endswith(", and 4 more kinds")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_patient_whose_background_is_bright_among_dark_ones_is_noted(
    root: Path, dtype: type
) -> None:
    """A picture saved in negative; not one beside padding, nor one that the head fills."""
    for patient, top in (("a", 0), ("b", 0), ("c", 0), ("d", 200), ("e", 0)):
        scan = np.random.default_rng(ord(patient)).integers(10, 190, (4, 24, 24))
        scan[:, :4] = scan[:, -4:] = scan[:, :, :4] = scan[:, :, -4:] = 0
        write_volume(root / patient / "scan.nii.gz", (abs(top - scan)).astype(dtype))
        tumour = np.zeros(scan.shape, np.uint8)
        tumour[1, 8:16, 8:16] = 1
        write_volume(root / patient / "seg.nii.gz", tumour)
    sentence = (
        "1 of 5 patients have a bright background, others a dark one (inverted, or padded with "
        "white): d"
    )
    assert sentence in notes(root)
    filled = np.random.default_rng(0).integers(10, 190, scan.shape)
    padded = np.where(np.arange(24)[:, None] > 14, -32768, scan)
    for other in (filled, padded):
        write_volume(root / "d" / "scan.nii.gz", other.astype(np.int16))
        assert not [note for note in check(root).notes if "background" in note]
