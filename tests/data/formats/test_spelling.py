"""A name is one name however it is spelled; the file is opened under its name on disk."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from tests.support.scans import blob, noise, problems, write_picture, write_volume

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))


def as_lgg(root: Path) -> None:
    for name, number in ((NFC, 1), (NFD, 2)):
        write_picture(root / name / f"{name}_{number}.tif", noise(16, 16))
    for name, number in ((NFD, 1), (NFC, 2)):
        write_picture(root / name / f"{name}_{number}_mask.tif", blob())


def as_pairs(root: Path) -> None:
    for number, (image, mask) in enumerate(((NFC, NFD), (NFD, NFC)), 1):
        write_picture(root / "images" / f"{image}_{number}.png", noise(16, 16))
        write_picture(root / "masks" / f"{mask}_{number}.png", blob())


def as_nnunet(root: Path) -> None:
    write_volume(root / "imagesTr" / f"{NFC}_0000.nii.gz", noise(2, 16, 16))
    write_volume(root / "imagesTr" / f"{NFD}_0001.nii.gz", noise(2, 16, 16))
    write_volume(root / "labelsTr" / f"{NFD}.nii.gz", np.stack([blob(top=1)] * 2))
    text = '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1}}'
    (root / "dataset.json").write_text(text)


def as_nifti(root: Path) -> None:
    for name in (NFC, NFD):
        write_volume(root / name / f"{NFD}_t1.nii.gz", noise(2, 16, 16))
        write_volume(root / name / f"{NFC}_seg.nii.gz", np.stack([blob()] * 2))


def as_manifest(root: Path) -> None:
    as_pairs(root)
    files = ((f"{NFC}_{number}.png", who) for number, who in ((1, NFC), (2, NFD)))
    rows = [f"images/{file},masks/{file},{who}" for file, who in files]
    (root / "m.csv").write_text("\n".join(["image,mask,patient", *rows]), encoding="utf-8")


@pytest.mark.parametrize("write", [as_lgg, as_pairs, as_nnunet, as_nifti, as_manifest])
def test_one_name_in_two_spellings_is_one_patient_in_every_layout(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path)
    assert problems(tmp_path) == []
    slices = find_slices(tmp_path)
    assert set(slices["patient"]) == {NFC}
    for row in slices.to_dict("records"):
        place = row["index"], row["axis"]
        assert read_image(tmp_path, row["image"], *place).shape[:2] == (16, 16)
        assert read_mask(tmp_path, row["mask"], *place).any()


def test_two_files_of_one_name_in_two_spellings_are_one_slice_twice(tmp_path: Path) -> None:
    as_pairs(tmp_path)
    write_picture(tmp_path / "images" / f"{NFD}_1.png", noise(16, 16))
    (listed,) = problems(tmp_path)
    assert f"images/{NFC}_1.png and images/{NFD}_1.png are the same slice" in listed
