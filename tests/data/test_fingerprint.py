"""A fingerprint changes with what files hold and mean, not with where or when they were written."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from brainseg.data.fingerprint import _other_roles, file_contents, fingerprint, what_differs
from brainseg.data.formats.detect import find_slices
from brainseg.records.run import Run
from tests.support.scans import blob, noise, write_picture, write_slice
from tests.support.written import write_json


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for n in range(1, 4):
        write_slice(tmp_path / "data", "p", n)
    return tmp_path / "data"


def test_a_copy_with_other_times_is_the_same_data(root: Path, tmp_path: Path) -> None:
    before = fingerprint(find_slices(root), root)
    assert re.fullmatch("xxh3:[0-9a-f]{16}", before)
    copy = Path(shutil.copytree(root, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    for path in copy.rglob("*.tif"):
        os.utime(path, ns=(1, 1))
    assert fingerprint(find_slices(copy), copy) == before


def test_a_row_or_a_pixel_that_changes_makes_other_data(root: Path) -> None:
    table = find_slices(root)
    before = fingerprint(table, root)
    assert fingerprint(table[:1], root) != before
    assert fingerprint(table.assign(index=3, axis=2), root) != before
    assert fingerprint(table.assign(patient="q"), root) != before
    image = root / table["image"][0]
    changed = bytearray(image.read_bytes())
    changed[-20] ^= 1
    image.write_bytes(changed)
    assert fingerprint(table, root) != before


def test_every_file_of_joined_channels_is_in_the_fingerprint(tmp_path: Path) -> None:
    for n in range(2):
        write_picture(tmp_path / f"{n}.png", noise(8, 8))
    write_picture(tmp_path / "m.png", blob(8, 8))
    where = {"index": -1, "axis": -1, "orientation": "", "label": ""}
    table = pd.DataFrame(
        [{"patient": "p", "slice": 1, "image": "0.png|1.png", "mask": "m.png", **where}]
    )
    before = fingerprint(table, tmp_path)
    write_picture(tmp_path / "1.png", noise(8, 9))
    assert fingerprint(table, tmp_path) != before


def test_a_fingerprint_of_an_older_version_is_compared_by_size_and_time(root: Path) -> None:
    table = find_slices(root)
    old = fingerprint(table, root, like="0123456789abcdef")
    assert re.fullmatch("[0-9a-f]{16}", old)
    assert fingerprint(table, root, like=old) == old
    os.utime(root / table["image"][0], ns=(1, 1))
    assert fingerprint(table, root, like=old) != old


def test_a_fingerprint_of_a_vanished_file_names_it(root: Path) -> None:
    table = find_slices(root)
    image = root / table["image"][1]
    image.unlink()
    for like in ("", "0123456789abcdef"):
        with pytest.raises(ValueError, match=f"{image} is not .No such file or directory.; restor"):
            fingerprint(table, root, like=like)


# What differs


def run_on(root: Path) -> Run:
    run, table = Run(root.parent / "run"), find_slices(root)
    run.create()
    table.assign(part="train").to_csv(run.slices, index=False)
    write_json(run.files, file_contents(table, root))
    settings: dict[str, object] = {key: {} for key in ("strategy", "space", "base", "fixed")}
    data = {"fingerprint": fingerprint(table, root), "made_up": False}
    split = {"shared_patients": 0}
    write_json(run.sweep, {**settings, "name": "run", "data": data, "split": split})
    return run


def differs(run: Run, root: Path) -> str:
    return what_differs(run, find_slices(root), root)


def test_what_differs_is_counted_and_named(root: Path) -> None:
    run = run_on(root)
    assert differs(run, root) == ""
    for name in ("p_1", "p_1_mask"):
        (root / "p" / f"{name}.tif").rename(root / "p" / f"{name.replace('1', '8')}.tif")
    assert differs(run, root) == (
        "2 files are renamed (p/p_1.tif to p/p_8.tif, p/p_1_mask.tif to p/p_8_mask.tif)"
    )
    for name in ("p_8", "p_8_mask"):
        (root / "p" / f"{name}.tif").unlink()
    write_slice(root, "q", 11, tumour_pixels=9)
    write_picture(root / "p" / "p_2.tif", noise(16, 16, 3))
    assert differs(run, root) == (
        "2 files are new (q/q_11.tif, q/q_11_mask.tif); "
        "2 files are gone (p/p_1.tif, p/p_1_mask.tif); 1 file is changed (p/p_2.tif)"
    )
    for number in range(12, 16):
        write_slice(root, "q", number, tumour_pixels=number)
    assert differs(run, root).startswith(
        "10 files are new (q/q_11.tif, q/q_12.tif, q/q_13.tif, ...); 2 "
    )


def test_the_same_files_with_another_meaning_are_other_data(root: Path) -> None:
    run, table = run_on(root), find_slices(root)
    said = what_differs(run, table.assign(patient="q"), root)
    assert said == "the patient of 3 slices is another (p is now q)"
    first = table["slice"] == table["slice"].min()
    patients, masks = table["patient"].mask(first, "q"), table["mask"].mask(first, "other.tif")
    assert _other_roles(table, table.assign(patient=patients, mask=masks)) == (
        "the patient of 1 slice is another (p is now q); the mask of 1 slice is another "
        "(p/p_1_mask.tif is now other.tif)"
    )
    said = what_differs(run, table.assign(axis=2), root)
    assert said == "the same files are cut in another way"
    twice = pd.concat([table, table.assign(axis=1)])
    assert what_differs(run, twice, root) == (
        "the same files are read as 6 slices of 1 patients instead of 3 slices of 1 patients"
    )


def test_of_a_run_that_recorded_no_content_what_can_be_known_is_said(root: Path) -> None:
    run = run_on(root)
    run.files.unlink()
    known = run.settings()
    old = fingerprint(find_slices(root), root, like="0" * 16)
    write_json(run.sweep, known | {"data": {"fingerprint": old, "made_up": False}})
    assert differs(run, root) == ""
    os.utime(root / "p" / "p_1.tif", ns=(1, 1))
    assert differs(run, root).startswith("sizes or times of files do, by which an older version")
    said = what_differs(run, find_slices(root).assign(patient="q"), root)
    assert said == "the patient of 3 slices is another (p is now q)"
    write_slice(root, "q", 11, tumour_pixels=9)
    assert differs(run, root) == "2 files are new (q/q_11.tif, q/q_11_mask.tif)"


def test_a_damaged_list_of_files_ends_nothing(root: Path) -> None:
    run, names = run_on(root), find_slices(root)["image"]
    write_picture(root / names[1], noise(16, 16, 3))
    whole = differs(run, root)
    write_json(run.files, {names[0]: [1], names[1]: "0", names[2]: None})
    assert differs(run, root) == whole == f"1 file is changed ({names[1]})"
    run.files.write_text("{")
    assert differs(run, root) == (
        f"some files do, and {run.files} cannot be read, which would tell which"
    )
