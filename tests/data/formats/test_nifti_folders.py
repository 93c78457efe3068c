"""What does not fit a folder of volumes is a problem, never a guess."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices, scan
from brainseg.data.persons import visits
from tests.support.scans import as_nifti, blob, noise, problems, write_volume

SEG = "PHANTOM_0002/PHANTOM_0002_seg.nii.gz"
PLACE = "a patient's volumes must lie in one place, corners to a tenth of a voxel"
RESAMPLE = "resample it to that grid, or copy that volume's affine if only the header is wrong"
PRE = "PHANTOM_0002/PHANTOM_0002_a_pre.nii.gz"
FLAIR = "PHANTOM_0002/PHANTOM_0002_b_flair.nii.gz"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda root: (root / SEG).unlink(),
            "a patient's folder must hold images and one mask (*mask*, *seg* or *label*), "
            "PHANTOM_0002 holds 3 images and no masks; add its mask, or move it out of the data",
        ),
        (
            lambda root: (root / FLAIR).unlink(),
            "every patient must have the channels of PHANTOM_0001 (a_pre, b_flair, c_post), "
            "PHANTOM_0002 has a_pre, c_post; rename, add or remove volumes",
        ),
        (
            lambda root: (root / FLAIR).rename((root / FLAIR).with_name("PHANTOM_0002_b_t2.nii")),
            "every patient must have the channels of PHANTOM_0001 (a_pre, b_flair, c_post), "
            "PHANTOM_0002 has a_pre, b_t2, c_post; rename, add or remove volumes",
        ),
        (
            lambda root: write_volume(root / "P" / "ses-1" / "flair.nii", noise(2, 8, 8)),
            "a patient's folder must hold images and one mask (*mask*, *seg* or *label*), "
            "P/ses-1 holds 1 image and no masks; add its mask, or move it out of the data",
        ),
        (
            lambda root: write_volume(root / FLAIR, noise(5, 32, 30)),
            f"{PLACE}, {FLAIR} is 30 x 32 x 5 voxels, {PRE} is 32 x 32 x 5; " + RESAMPLE,
        ),
        (
            lambda root: write_volume(root / SEG, np.stack([blob(32, 32)] * 5), (5, 0.9, 0.5)),
            f"{PLACE}, {SEG} has voxels of 0.5 x 0.9 x 5 mm, {PRE} of 0.8 x 0.9 x 5, and lies up "
            "to 9.3 mm away (0.08 mm is allowed); " + RESAMPLE,
        ),
        (
            lambda root: write_volume(root / SEG, np.stack([blob(32, 32)] * 5), (5, 0.9, -0.8)),
            f"{PLACE}, {SEG} lies up to 24.8 mm from {PRE} (0.08 mm is allowed); " + RESAMPLE,
        ),
        (
            lambda root: write_volume(root / SEG, np.zeros((5, 32, 32, 2), np.uint8)),
            f"a mask must have one channel, {SEG} has 2; keep only the tumour's",
        ),
        (
            lambda root: (root / FLAIR).write_bytes(b""),
            f"every image and mask must be readable, {FLAIR} is empty; "
            "restore it, or remove the slice",
        ),
    ],
)
def test_a_fault_in_a_folder_of_volumes_is_named(
    tmp_path: Path, phantoms: Path, harm: Callable[[Path], Any], message: str
) -> None:
    as_nifti(phantoms, tmp_path / "data")
    harm(tmp_path / "data")
    assert problems(tmp_path / "data") == [message]


def test_a_single_image_may_be_called_anything(tmp_path: Path) -> None:
    for patient in ("P1", "P2"):
        write_volume(tmp_path / patient / f"{patient}.nii", noise(2, 16, 16))
        write_volume(tmp_path / patient / "Segmentation.nii", np.stack([blob()] * 2))
    assert find_slices(tmp_path)["patient"].tolist() == ["P1", "P1", "P2", "P2"]


def write_patients(root: Path, *patients: str, images: tuple[str, ...] = ("flair", "t1")) -> None:
    for patient in patients:
        for k, image in enumerate(images):
            write_volume(root / patient / f"{patient}_{image}.nii", noise(2, 16, 16 + k)[:, :, :16])
        write_volume(root / patient / f"{patient}_seg.nii", np.stack([blob()] * 2))


ODD_NAMES = [
    {"P1_seg": "W39_Segm"},
    {"P1_flair": "P1_FLAIR"},
    {"P1_flair": "scan 1 flair", "P1_t1": "scan 2 t1"},
    {"P1_flair": "z_flair", "P1_t1": "a_t1"},
    {"P1_flair": "flair", "P1_seg": "mask"},
]


@pytest.mark.parametrize("names", ODD_NAMES, ids=lambda names: " ".join(names.values()))
@pytest.mark.parametrize("patient", ["P1", "P3"])
def test_the_odd_names_of_one_patient_are_understood_or_charged_to_no_other(
    tmp_path: Path, names: dict[str, str], patient: str
) -> None:
    write_patients(tmp_path, "P1", "P2", "P3")
    for old, new in names.items():
        old, new = old.replace("P1", patient), new.replace("P1", patient)
        (tmp_path / patient / f"{old}.nii").rename(tmp_path / patient / f"{new}.nii")
    contents = scan(tmp_path)
    assert contents.problems == []
    assert contents.channels == ("flair", "t1")
    ends = contents.table["image"].str.lower().str.fullmatch(r".*flair\.nii\|.*t1\.nii")
    assert len(ends) == 6 and ends.all()


def test_where_every_mask_is_named_in_its_own_way_the_images_are_compared(tmp_path: Path) -> None:
    for k, word in enumerate(("a_seg", "b_mask", "c_label")):
        write_patients(tmp_path, f"P{k}")
        for old, new in (("flair", f"x{k}_flair"), ("t1", f"x{k}_t1"), ("seg", word)):
            (tmp_path / f"P{k}" / f"P{k}_{old}.nii").rename(tmp_path / f"P{k}" / f"{new}.nii")
    assert scan(tmp_path).channels == ("flair", "t1")
    assert problems(tmp_path) == []


@pytest.mark.parametrize("odd", ["P1", "P3"])
def test_one_patient_of_other_channels_is_refused_alone(tmp_path: Path, odd: str) -> None:
    write_patients(tmp_path, *{"P1", "P2", "P3"} - {odd})
    write_patients(tmp_path, odd, images=("t1", "t2"))
    first = "P2" if odd == "P1" else "P1"
    assert problems(tmp_path) == [
        f"every patient must have the channels of {first} (flair, t1), {odd} has t1, t2; "
        "rename, add or remove volumes"
    ]
    assert scan(tmp_path).table["patient"].nunique() == 2


def test_a_volume_that_is_there_twice_is_a_problem(tmp_path: Path) -> None:
    write_patients(tmp_path, "P1", "P2", "P3")
    shutil.copy(tmp_path / "P1" / "P1_t1.nii", tmp_path / "P1" / "P1_t1.NII")
    assert problems(tmp_path) == [
        "a volume must be one file, P1/P1_t1.nii and P1/P1_t1.NII are the same volume; remove one"
    ]
    assert scan(tmp_path).account.used == "4 images, 2 masks, 4 files in problems"


def test_a_patient_s_name_may_contain_seg_and_two_masks_are_named(tmp_path: Path) -> None:
    write_patients(tmp_path, "Segers", "P2")
    assert problems(tmp_path) == []
    write_volume(tmp_path / "P2" / "P2_brainmask.nii", np.stack([blob()] * 2))
    assert problems(tmp_path) == [
        "a patient's folder must hold images and one mask (*mask*, *seg* or *label*), P2 holds "
        "2 images and 2 masks (P2_brainmask.nii, P2_seg.nii); move the files, or list them in a "
        "CSV manifest"
    ]


def test_folders_of_patients_lie_at_any_depth_and_visits_of_one_person_are_linked(
    tmp_path: Path,
) -> None:
    folders = {
        "TrainingData/BraTS-GLI-00002-000": "BraTS-GLI-00002-000",
        "TrainingData/BraTS-GLI-00002-001": "BraTS-GLI-00002-001",
        "sub-01/ses-01/anat": "sub-01/ses-01/anat",
        "sub-01/ses-02/anat": "sub-01/ses-02/anat",
        "Meyer/2019-05-01": "Meyer/2019-05-01",
        "Meyer/2020-05-01": "Meyer/2020-05-01",
        "sub-02/anat": "sub-02/anat",
        "P7": "P7",
    }
    for k, folder in enumerate(folders):
        last = folder.rpartition("/")[2]
        write_volume(tmp_path / folder / f"{last}_flair.nii", noise(2, 16, 16 + k)[:, :, :16])
        write_volume(tmp_path / folder / f"{last}_seg.nii", np.stack([blob()] * 2))
    contents = scan(tmp_path)
    assert (contents.layout, contents.problems) == ("nifti", [])
    patients = set(contents.table["patient"])
    assert patients == set(folders.values())
    assert [names[0] for names in visits(patients)] == [
        "BraTS-GLI-00002-000",
        "Meyer/2019-05-01",
        "sub-01/ses-01/anat",
    ]


def test_a_folder_of_volumes_that_is_there_twice_is_a_problem(tmp_path: Path) -> None:
    write_patients(tmp_path / "set", "P1", "P2")
    shutil.copytree(tmp_path / "set" / "P2", tmp_path / "old" / "P2")
    assert problems(tmp_path) == [
        "a patient must lie in one folder, set/P2 and old/P2 hold the same 1 image; "
        "remove one of them"
    ]


def test_volumes_that_lie_in_no_folder_are_counted(tmp_path: Path) -> None:
    for name in ("P1_flair.nii", "P1_seg.nii", "P2_flair.nii"):
        write_volume(tmp_path / name, noise(2, 16, 16))
    assert problems(tmp_path) == [
        "each patient's volumes must lie in a folder of its own, P1_flair.nii lies in none, nor "
        "do 2 others; move the files, or list them in a CSV manifest"
    ]
