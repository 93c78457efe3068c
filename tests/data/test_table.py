"""A table comes back from disk as it was, and its fingerprint changes when a file does."""

import os
from pathlib import Path

import pandas as pd
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.table import COLUMNS, fingerprint, read_table, tumour_volumes
from tests.support.scans import (
    blob,
    noise,
    write_picture,
    write_slice,
)
from tests.support.tables import growing, refused

# The fingerprint


def test_the_fingerprint_stays_until_a_file_or_a_row_changes(tmp_path: Path) -> None:
    image, _ = write_slice(tmp_path, "p", 1)
    write_slice(tmp_path, "p", 2)
    table = find_slices(tmp_path)
    before = fingerprint(table, tmp_path)
    assert len(before) == 16 and set(before) <= set("0123456789abcdef")
    assert fingerprint(find_slices(tmp_path), tmp_path) == before
    assert fingerprint(table[:1], tmp_path) != before
    assert fingerprint(table.assign(index=3, axis=2), tmp_path) != before
    assert fingerprint(table.assign(patient="q"), tmp_path) != before
    os.utime(image, ns=(1, 1))
    assert fingerprint(table, tmp_path) != before


def test_every_file_of_joined_channels_is_in_the_fingerprint(tmp_path: Path) -> None:
    for n in range(2):
        write_picture(tmp_path / f"{n}.png", noise(8, 8))
    write_picture(tmp_path / "m.png", blob(8, 8))
    table = pd.DataFrame([["p", 1, "0.png|1.png", "m.png", -1, -1]])
    table.columns = pd.Index(COLUMNS[:6])
    before = fingerprint(table, tmp_path)
    os.utime(tmp_path / "1.png", ns=(1, 1))
    assert fingerprint(table, tmp_path) != before


def test_a_fingerprint_of_a_vanished_file_names_it(tmp_path: Path) -> None:
    image, _ = write_slice(tmp_path, "p", 1)
    table = find_slices(tmp_path)
    image.unlink()
    with pytest.raises(ValueError, match=f"{image} is not .No such file or directory.; restore"):
        fingerprint(table, tmp_path)


def test_volumes_are_millilitres_where_the_spacing_is_known() -> None:
    table = growing(2).assign(row_mm=0.5, column_mm=0.5, slice_mm=4.0)
    volumes, unit = tumour_volumes(table)
    assert unit == "ml" and volumes.tolist() == [0, 0.01, 0, 0, 0.02, 0]
    table.loc[0, "slice_mm"] = float("nan")
    assert tumour_volumes(table)[1] == "pixels"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b"patient,dice\np,0.5\nq,0.", "its last line is cut short"),
        (b"\xff\n", "its byte 1 is no UTF-8"),
        (b"\n", "it is no table (No columns to parse from file)"),
        (b"patient,dice\np,0.5\nq,0.5,7,8\n", "it is no table (Error tokenizing data."),
        (b"patient\np\n", "it has no column dice"),
        (b"patient,dice\np,high\n", "its column dice holds other things than numbers"),
    ],
)
def test_a_table_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(content)
    said = refused(lambda: read_table(path, numbers=("dice",), remedy="take another"))
    assert said.startswith(f"{path} cannot be read: {fault}") and said.endswith("; take another")
    assert "\n" not in said


def test_a_table_without_a_row_is_one(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("patient,dice\n")
    assert read_table(tmp_path / "patients.csv", numbers=("dice",)).empty
