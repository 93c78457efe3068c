"""Nothing disappears: what lies in a folder is used, is part of a problem, or is counted."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.data.dataset import read_data
from brainseg.data.formats.detect import find_slices, scan
from tests.support.scans import blob, noise, problems, write_picture, write_slice, write_volume

LOST = "something of each patient must be used"


def write_patients(root: Path, *patients: str) -> Path:
    for patient in patients or ("P1", "P2"):
        write_slice(root, patient, 1)
    return root


def test_all_that_was_not_used_is_counted_by_kind_with_an_example(tmp_path: Path) -> None:
    write_patients(tmp_path)
    for name in ("P1/a.bmp", "P2/b.BMP", "P2/1.2.840.113", "notes.txt", "P1/P1.tar.gz", "x.zip"):
        (tmp_path / name).touch()
    for name in ("README.md", "data.csv", ".DS_Store", "P1/Thumbs.db"):
        (tmp_path / name).touch()
    for name in (".old/P3", ".git", "P1/empty/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "P1" / "P1_2.tif").symlink_to("../.annex/P1_2.tif")
    (tmp_path / "latest").symlink_to("P2")
    os.mkfifo(tmp_path / "P1" / "pipe")
    (tmp_path / "P1" / "P1_1 copy.tif").touch()
    (tmp_path / "P1" / "P1_1_mask(2).tif").touch()
    account = scan(tmp_path).account
    assert account.used == "2 images, 2 masks, 4 files beside the data, 1 hidden file"
    assert account.unused.split(", ", 3)[0] == "2 .bmp (P1/a.bmp"
    for phrase in (
        "2 .bmp (P1/a.bmp, ...)",
        "2 copies of a file beside them (P1/P1_1 copy.tif, ...)",
        "1 .tar.gz (P1/P1.tar.gz)",
        "1 .txt (notes.txt)",
        "1 .zip (x.zip)",
        "1 empty folder (P1/empty/deep)",
        "1 file without a suffix (P2/1.2.840.113)",
        "1 folder of hidden name (.old)",
    ):
        assert phrase in account.unused
    assert account.unused.endswith(", 3 of 3 more kinds")
    assert [account.roles[name] for name in ("P1/P1_2.tif", "latest", "P1/pipe")] == [
        "link that leads nowhere",
        "link to a folder",
        "thing that is neither file nor folder",
    ]


def links(folder: Path) -> None:
    for name in ("P5_1.tif", "P5_1_mask.tif"):
        (folder / name).symlink_to("../.annex/none")


def files(*names: str) -> Callable[[Path], Any]:
    return lambda folder: [(folder / name).touch() for name in names]


@pytest.mark.parametrize(
    ("fill", "has", "remedy"),
    [
        (links, "has only 2 links that lead nowhere (P5/P5_1.tif, ...)", "fetch what the links"),
        (files("1.dcm", "2.dcm"), "has only 2 .dcm (P5/1.dcm, ...)", "convert or add its files"),
        (files("1.2.840.1"), "has only 1 file without a suffix (P5/1.2.840.1)", "convert or add"),
        (files("P5_1.tif.zip"), "has only 1 .zip (P5/P5_1.tif.zip)", "convert or add"),
        (files("flair.nii.gz"), "has only 1 .nii.gz (P5/flair.nii.gz)", "convert or add"),
        (files("P5.json"), "has only 1 .json (P5/P5.json)", "convert or add"),
        (files(".DS_Store"), "has only 1 hidden file (P5/.DS_Store)", "convert or add"),
        (files(), "is empty", "convert or add"),
        (lambda folder: (folder / "ses-1").mkdir(), "has only 1 empty folder (P5/ses-1)", ""),
    ],
)
def test_a_patient_of_whom_nothing_was_used_is_a_problem(
    tmp_path: Path, fill: Callable[[Path], Any], has: str, remedy: str
) -> None:
    write_patients(tmp_path)
    (tmp_path / "P5").mkdir()
    fill(tmp_path / "P5")
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{LOST}, P5 {has}; {remedy}")
    with pytest.raises(ValueError, match="P5 "):
        read_data(str(tmp_path), "auto", print)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path)])
    assert ended.value.code == 1


def test_an_empty_folder_is_that_of_a_patient_only_by_its_name(tmp_path: Path) -> None:
    write_patients(tmp_path)
    for name in ("P7", "runs"):
        (tmp_path / name).mkdir()
    assert [listed.split("; ")[0] for listed in problems(tmp_path)] == [f"{LOST}, P7 is empty"]
    assert scan(tmp_path).account.unused == "1 empty folder (runs)"


@pytest.mark.parametrize("name", ["P5.zip", "P5.tar.gz", "P5"])
def test_an_archive_or_a_dead_link_in_place_of_a_patient_is_a_problem(
    tmp_path: Path, name: str
) -> None:
    write_patients(tmp_path)
    for path, link in ((tmp_path / name, name == "P5"), (tmp_path / "latest", True)):
        path.symlink_to("none") if link else path.touch()
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{LOST}, {name} has only 1 ")
    assert scan(tmp_path).account.unused == "1 link that leads nowhere (latest)"


def test_a_whole_site_that_was_not_used_is_one_problem(tmp_path: Path) -> None:
    write_patients(tmp_path / "siteA")
    for patient in ("P8", "P9"):
        (tmp_path / "siteB" / patient).mkdir(parents=True)
        (tmp_path / "siteB" / patient / f"{patient}_1.mha").touch()
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{LOST}, siteB has only 2 .mha (siteB/P8/P8_1.mha, ...); ")


@pytest.mark.parametrize(
    "name",
    [
        *("site.zip", "P1.zip", "runs/model.pt"),
        *("docs/a.pdf", "code/main.py", "dicom/P1/1.dcm", "P1/raw/1.dcm", "figures/volume.nii"),
        *("P1/P1.mha", "__MACOSX/P1/._P1_1.tif", "a.mha"),
    ],
)
def test_what_is_no_patient_or_another_form_of_one_is_counted_and_no_problem(
    tmp_path: Path, name: str
) -> None:
    write_patients(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    contents = scan(tmp_path)
    assert contents.problems == []
    assert contents.account.unused.endswith(f" ({name})") == (".tif" not in name)


def test_a_patient_of_pairs_whose_files_are_of_another_suffix_is_a_problem(tmp_path: Path) -> None:
    for name in ("P1_1", "P1_2"):
        write_picture(tmp_path / "images" / f"{name}.png", noise(16, 16))
        write_picture(tmp_path / "masks" / f"{name}.png", blob())
    for name in ("P1_3", "P2_1", "P2_2"):
        for folder in ("images", "masks"):
            (tmp_path / folder / f"{name}.bmp").touch()
    (listed,) = problems(tmp_path)
    assert listed.startswith(f"{LOST}, P2 has only 4 .bmp (images/P2_1.bmp, ...); ")
    assert scan(tmp_path).account.unused == "2 .bmp (images/P1_3.bmp, ...)"


def test_a_patient_s_folder_of_pairs_whose_files_are_of_another_suffix_is_a_problem(
    tmp_path: Path,
) -> None:
    write_picture(tmp_path / "images" / "P1" / "1.png", noise(16, 16))
    write_picture(tmp_path / "masks" / "P1" / "1.png", blob())
    for folder in ("images", "masks", "elsewhere"):
        (tmp_path / folder / "P2").mkdir(parents=True)
        (tmp_path / folder / "P2" / "1.bmp").touch()
    (tmp_path / "masks" / "P1" / "2.bmp").touch()
    assert [listed.split("; ")[0] for listed in problems(tmp_path)] == [
        f"{LOST}, images/P2 has only 1 .bmp (images/P2/1.bmp)",
        f"{LOST}, masks/P2 has only 1 .bmp (masks/P2/1.bmp)",
    ]


def test_a_problem_accounts_for_all_files_that_are_not_used_because_of_it(tmp_path: Path) -> None:
    write_slice(tmp_path, "P1", 1)
    for patient in ("P1", "P2"):
        for name, top in (("flair", 200), ("seg", 255)):
            write_volume(tmp_path / patient / f"{name}.nii", np.stack([blob(8, 8, top)] * 2))
    write_volume(tmp_path / "P2" / "seg.nii", np.stack([blob(8, 9)] * 2))
    contents = scan(tmp_path, "nifti")
    assert len(contents.problems) == 1
    assert contents.account.used == "1 image, 1 mask, 2 files in problems"
    assert contents.account.unused == "2 .tif (P1/P1_1.tif, ...)"


def test_a_sweep_begins_with_one_line_of_what_it_leaves_unused(
    tmp_path: Path, phantoms: Path
) -> None:
    said: list[str] = []
    read_data(str(phantoms), "auto", said.append)
    write_patients(tmp_path)
    read_data(str(tmp_path), "auto", said.append)
    assert said == []
    (tmp_path / "P1" / "1\x1b.mha").touch()
    read_data(str(tmp_path), "auto", said.append)
    assert said == [r"not used of the data: 1 .mha (P1/1\x1b.mha)"]


def test_check_prints_the_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_patients(tmp_path)
    (tmp_path / "P1" / "1\x1b.mha").touch()
    main(["check", str(tmp_path)])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "files 2 images, 2 masks" in lines
    assert r"not used 1 .mha (P1/1\x1b.mha)" in lines


def test_the_cache_of_brainseg_may_lie_in_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patient in "pq":
        write_slice(tmp_path, patient, 1, 9)
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    first = find_slices(tmp_path)
    assert (tmp_path / "cache").is_dir()
    assert find_slices(tmp_path).equals(first)
