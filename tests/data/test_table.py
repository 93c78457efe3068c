"""A table comes back from disk as it was, and its fingerprint changes when a file does."""

from pathlib import Path

import pytest

from brainseg.data.table import read_table, tumour_volumes
from tests.support.tables import growing, refused


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
