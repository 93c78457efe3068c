"""What does not fit a folder of nnU-Net is a problem, never a guess."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainseg.data.formats.detect import find_slices
from tests.support.scans import (
    as_nnunet,
    describe,
    noise,
    problems,
    write_volume,
)


def test_the_cases_of_nnunet_of_version_1_are_read(tmp_path: Path, phantoms: Path) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    old = {"modality": {"0": "a", "1": "b", "2": "c"}, "labels": {"0": "background", "1": "tumour"}}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(old))
    assert len(find_slices(tmp_path / "data")) == len(find_slices(phantoms))


RULE = "an nnU-Net folder must have a dataset.json with channel_names and labels"
MEND = "write it as nnU-Net documents it"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda root: (root / "dataset.json").unlink(),
            f"{RULE}, dataset.json is missing; {MEND}",
        ),
        (
            lambda root: (root / "dataset.json").write_text("{"),
            f"{RULE}, dataset.json does not contain them; {MEND}",
        ),
        (
            lambda root: describe(root, labels={"background": 0, "oedema": 1, "core": 2}),
            "the labels must be background 0 and tumour 1, dataset.json has {'background': 0, "
            "'oedema': 1, 'core': 2}; merge the labels into one, here and in labelsTr",
        ),
        (
            lambda root: (root / "imagesTr" / "PHANTOM_0002_0001.nii.gz").unlink(),
            "a case must have channels 0 to 2, imagesTr/PHANTOM_0002_0000.nii.gz has 0, 2; "
            "add the missing ones, or correct dataset.json",
        ),
        (
            lambda root: (root / "labelsTr" / "PHANTOM_0002.nii.gz").unlink(),
            "an image must have its mask, imagesTr/PHANTOM_0002_0000.nii.gz has none; "
            "add the mask, or remove the image",
        ),
        (
            lambda root: [path.unlink() for path in (root / "imagesTr").glob("PHANTOM_0002*")],
            "a mask must have its image, labelsTr/PHANTOM_0002.nii.gz has none; "
            "add the image, or remove the mask",
        ),
        (
            lambda root: write_volume(root / "imagesTr" / "odd.nii.gz", noise(2, 8, 8)),
            "the name of an image must end in its channel, as _0000, imagesTr/odd.nii.gz does not; "
            "rename it like imagesTr/<CASE>_0000.*, labelsTr/<CASE>.* and dataset.json",
        ),
    ],
)
def test_a_fault_in_an_nnunet_folder_is_named(
    tmp_path: Path, phantoms: Path, harm: Callable[[Path], Any], message: str
) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    harm(tmp_path / "data")
    assert problems(tmp_path / "data") == [message]
