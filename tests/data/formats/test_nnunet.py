"""What does not fit a folder of nnU-Net is a problem, never a guess."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainseg.data.formats.dataset_json import read_description
from brainseg.data.formats.detect import find_slices, scan
from tests.support.scans import (
    as_nnunet,
    blob,
    describe,
    noise,
    problems,
    write_picture,
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
            f"{RULE}, dataset.json is no JSON at line 1, column 2; {MEND}",
        ),
        (
            lambda root: describe(root, labels={"background": 0, "oedema": 1, "core": 2}),
            "the labels must be background 0 and tumour 1, dataset.json has "
            '{"background": 0, "oedema": 1, "core": 2}; choose what is tumour, as with '
            "--label whole, or merge them",
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


def write_pictures(root: Path, *cases: str, suffixes: tuple[str, ...] = ("_0000",)) -> None:
    for case in cases:
        for suffix in suffixes:
            write_picture(root / "imagesTr" / f"{case}{suffix}.png", noise(16, 16, 3))
        write_picture(root / "labelsTr" / f"{case}.png", blob(top=1))


RGB = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}


def test_an_rgb_picture_is_one_file_of_three_channels(tmp_path: Path) -> None:
    write_pictures(tmp_path, "P1_1", "P1_2", "P2_1")
    describe(tmp_path, **RGB)
    contents = scan(tmp_path)
    assert contents.problems == []
    assert contents.channels == ("R", "G", "B")
    assert contents.table["patient"].tolist() == ["P1", "P1", "P2"]


def test_a_case_whose_channels_are_not_those_of_most_is_refused_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path, "P1_1", "P1_2")
    write_pictures(tmp_path, "P2_1", suffixes=("_0000", "_0001"))
    describe(tmp_path, **RGB)
    assert problems(tmp_path) == [
        "a case must have channels 0 to 2, imagesTr/P2_1_0000.png has 0, 1; add the missing ones, "
        "or correct dataset.json"
    ]
    assert scan(tmp_path).account.used == (
        "2 images, 2 masks, 1 file beside the data, 3 files in problems"
    )


@pytest.mark.parametrize("suffix", ["_0000", ""])  # "": as in the Medical Segmentation Decathlon
def test_a_volume_may_hold_all_channels(tmp_path: Path, suffix: str) -> None:
    for case in ("BRATS_001", "BRATS_002"):
        write_volume(tmp_path / "imagesTr" / f"{case}{suffix}.nii.gz", noise(3, 16, 16, 4))
        write_volume(tmp_path / "labelsTr" / f"{case}.nii.gz", np.stack([blob()] * 3))
    names = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    describe(tmp_path, channel_names=names)
    assert find_slices(tmp_path)["patient"].tolist() == ["BRATS_001"] * 3 + ["BRATS_002"] * 3
    describe(tmp_path, channel_names=names | {"4": "ADC"})
    assert [listed.split(", ")[0] for listed in problems(tmp_path)] == [
        "a case must have channels 0 to 4"
    ] * 2


def test_test_cases_are_counted_and_no_case_disappears(tmp_path: Path, phantoms: Path) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    for name in ("imagesTs/T_0000.nii.gz", "labelsTs/T.nii.gz", "imagesTr/Q_0000.mha"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    assert problems(tmp_path / "data") == [
        "something of each patient must be used, Q has only 1 .mha (imagesTr/Q_0000.mha); convert "
        "or add its files, or move it out of the data"
    ]
    account = scan(tmp_path / "data").account
    assert account.unused == "2 files of test cases (imagesTs/T_0000.nii.gz, ...)"


def test_labels_that_are_missing_altogether_are_one_problem(tmp_path: Path, phantoms: Path) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "labelsTr")
    assert problems(tmp_path / "data") == [
        "an nnU-Net folder must have labelsTr with the mask of each case, labelsTr holds none; "
        "add the masks"
    ]


def test_cases_that_dataset_json_counts_and_that_are_gone_are_noted(
    tmp_path: Path, phantoms: Path
) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    assert scan(tmp_path / "data").notes == {}
    describe(tmp_path / "data", numTraining=484)
    assert scan(tmp_path / "data").notes == {
        "3 training cases are there, not as many as was counted": [
            "dataset.json (numTraining is 484)"
        ]
    }


def test_a_case_in_two_files_is_a_problem(tmp_path: Path, phantoms: Path) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    for name in ("imagesTr/PHANTOM_0001_0001", "labelsTr/PHANTOM_0001"):
        write_volume(tmp_path / "data" / f"{name}.nii", noise(2, 8, 8))
    assert [listed.split("; ")[0] for listed in problems(tmp_path / "data")][:2] == [
        f"a slice must be one file, {name}.nii.gz and {name}.nii are the same slice"
        for name in ("labelsTr/PHANTOM_0001", "imagesTr/PHANTOM_0001_0001")
    ]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('{"channel_names": {"0": "T1"}, "labels": {"background": "0", "tumour": "1"}}', (1,)),
        ('{"modality": {"0": "T1"}, "labels": {"0": "background", "1": "tumour"}}', (1,)),
        ('{"modality": ["T1"], "labels": {"background": 0, "tumour": [1]}}', (1,)),
        ('{"modality": ["T1"], "labels": {"background": 0, "all": [1, 2], "core": 2}}', (1, 2)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_dataset_json_is_read_as_either_version_has_it(
    tmp_path: Path, text: str, labels: tuple[int, ...], encoding: str
) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding=encoding)
    about = read_description(tmp_path / "dataset.json")
    assert (about.channels, about.labels) == (("T1",), labels)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff\xfe\xff", "is not UTF-8 text"),
        (b'{"a": }', "is no JSON at line 1, column 7"),
        (b"[" * 100_000, "is no JSON that can be read"),
        (b"[1]", "is a list or a value, not names with values in braces"),
        (b"{}", "lacks channel_names, which version 1 calls modality"),
        (b'{"modality": "T1"}', 'has the modality \'T1\', not as {"0": "FLAIR", "1": "T1"}'),
        (b'{"channel_names": {"T1": 0}}', "has the channel_names T1, which must be numbered 0, 1,"),
        (b'{"modality": {"0": "T1"}}', 'lacks labels, as {"background": 0, "tumour": 1}'),
        (b'{"modality": ["T1"], "labels": {"a": "b"}}', "has the label 'a': 'b', which is no num"),
        (b'{"modality": ["T1"], "labels": {"a": NaN}}', "has the label 'a': nan, which is no num"),
        (b'{"modality": ["T1"], "labels": {"a": 1, "ignore": 2}}', "has the label ignore: "),
        (b'{"modality": ["T1"], "labels": {"a": 1}, "file_ending": 2}', "has the file_ending 2"),
    ],
)
def test_damage_in_a_dataset_json_is_one_problem(
    tmp_path: Path, phantoms: Path, text: bytes, fault: str
) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    (tmp_path / "data" / "dataset.json").write_bytes(text)
    (listed,) = problems(tmp_path / "data")
    assert listed.startswith(f"{RULE}, dataset.json {fault}")


def test_the_file_ending_must_be_that_of_the_files(tmp_path: Path, phantoms: Path) -> None:
    as_nnunet(phantoms, tmp_path / "data")
    describe(tmp_path / "data", file_ending=".nrrd")
    assert problems(tmp_path / "data") == [
        "the file_ending of dataset.json must be that of the files in imagesTr, dataset.json has "
        "'.nrrd', none of 9 files ends in it; correct it"
    ]
