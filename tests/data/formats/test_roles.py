"""A file that is an image and a mask, or the mask of two images, is refused by whatever name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices
from tests.support.scans import blob, noise, problems, write_picture, write_slice, write_volume

IMAGE_OR_MASK = "a file must be an image or a mask"
REMEDY = "give each image its own; join the channels of one slice by |"


def manifest(root: Path, *rows: str) -> None:
    (root / "m.csv").write_text("\n".join(["image,mask,patient", *rows]))


def write_pictures(root: Path) -> None:
    for number in (1, 2, 3, 4):
        write_picture(root / f"i_{number}.png", noise(16, 16))
        write_picture(root / f"m_{number}.png", np.roll(blob(), number))


def test_one_mask_of_several_images_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    manifest(tmp_path, *(f"i_{n}.png,m_1.png,P{n}" for n in (1, 2, 3, 4)))
    assert problems(tmp_path) == [
        "a mask must be that of one image, m_1.png is that of i_1.png, i_2.png, i_3.png and 1 "
        f"more; {REMEDY}"
    ]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_mask_under_two_names_is_refused(tmp_path: Path, link: Callable[..., None]) -> None:
    write_pictures(tmp_path)
    (tmp_path / "m_2.png").unlink()
    link(tmp_path / "m_1.png", tmp_path / "m_2.png")
    manifest(tmp_path, *(f"i_{n}.png,m_{n}.png,P{n}" for n in (1, 2)))
    assert problems(tmp_path) == [
        "a mask must be that of one image, m_1.png and, as m_2.png, the same file, is that of "
        f"i_1.png, i_2.png; {REMEDY}"
    ]


def test_one_mask_volume_of_two_images_is_refused_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", noise(3, 16, 16))
    write_volume(tmp_path / "s.nii.gz", np.stack([np.zeros_like(blob()), blob(), blob()]))
    manifest(tmp_path, "a.nii.gz,s.nii.gz,P1", "b.nii.gz,s.nii.gz,P2")
    assert problems(tmp_path) == [
        "a mask must be that of one image, s.nii.gz is that of a.nii.gz, b.nii.gz; " + REMEDY
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("m_1.png,m_1.png,P1", "m_1.png is both"),
        ("m_1.png,m_5.png,P1", "m_5.png and the image m_1.png are equal"),
        ("m_1.png,m_6.png,P1", "m_6.png and the image m_1.png are equal"),
        ("i_2.png|m_1.png,m_1.png,P1", "m_1.png is both"),
    ],
)
def test_an_image_that_is_a_mask_is_refused(tmp_path: Path, row: str, fault: str) -> None:
    write_pictures(tmp_path)
    os.symlink("m_1.png", tmp_path / "m_5.png")
    shutil.copy(tmp_path / "m_1.png", tmp_path / "m_6.png")
    manifest(tmp_path, "i_3.png,m_3.png,P3", row)
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{IMAGE_OR_MASK}, {fault}; name the mask")


def test_the_mask_of_one_row_may_not_be_the_image_of_another(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    manifest(tmp_path, "i_1.png,m_1.png,P1", "m_1.png,m_2.png,P2")
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{IMAGE_OR_MASK}, m_1.png is both; ")


def test_an_image_listed_twice_is_refused_once(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    manifest(tmp_path, "i_1.png,m_1.png,P1", "i_1.png,m_2.png,P2")
    assert problems(tmp_path) == [
        "an image must be listed once, i_1.png is that of P1 slice 1, P2 slice 1; keep one of its "
        "rows"
    ]
    for name in ("a", "s", "t"):
        write_volume(tmp_path / f"{name}.nii.gz", np.stack([blob(top=1 + (name == "a"))] * 3))
    manifest(tmp_path, "a.nii.gz,s.nii.gz,P1", "a.nii.gz,t.nii.gz,P1")
    assert problems(tmp_path) == [
        "an image must be listed once, a.nii.gz is that of P1 slice 1, P1 slice 4; keep one of its "
        "rows"
    ]


def test_masks_that_mark_nothing_may_be_one_file_and_so_may_a_black_image(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    write_picture(tmp_path / "black_1.png", np.zeros((16, 16), np.uint8))
    rows = [f"i_{n}.png,black_1.png,P{n}" for n in (2, 3, 4)]
    manifest(tmp_path, "i_1.png,m_1.png,P1", *rows, "black_1.png,black_1.png,P5")
    assert problems(tmp_path) == []
    assert find_slices(tmp_path)["tumour"].tolist() == [1, 0, 0, 0, 0]


def test_an_archive_that_holds_its_patients_twice_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        write_slice(tmp_path / "kaggle_3m", "P1", number)
        write_slice(tmp_path / "kaggle_3m", "P2", number)
    shutil.copytree(tmp_path / "kaggle_3m", tmp_path / "lgg" / "kaggle_3m")
    rule = "a patient must lie in one folder, lgg/kaggle_3m"
    assert problems(tmp_path) == [
        f"{rule} and kaggle_3m hold the same 2 patients (P1, ...); remove one of them"
    ]
    write_picture(tmp_path / "lgg" / "kaggle_3m" / "P1" / "P1_2.tif", noise(8, 10, 3))
    assert problems(tmp_path) == [
        f"{rule}/P2 and kaggle_3m/P2 hold the same 2 images; remove one of them"
    ]
