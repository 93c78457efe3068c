"""A split in a file reads back the same; one that does not fit the data is refused."""

from pathlib import Path

import pytest

from brainseg.config.sweep import Split
from brainseg.data.splits.draw import (
    shared_patients,
    split_from_file,
    split_rows,
    split_table,
)
from tests.support.tables import growing, made_up_table, refused


@pytest.mark.parametrize("by", ["patients", "slices"])
def test_a_split_written_to_a_file_reads_back_the_same(tmp_path: Path, by: str) -> None:
    table = growing(30).sample(frac=1, random_state=0)
    table["patient"] = table["patient"].replace({"p000": "NA", "p001": "007", "p002": 'a,"b"\nü'})
    split = split_table(table, Split(by=by, seed=3))
    rows = split_rows(table, split)
    assert len(rows) == (30 if by == "patients" else 90)
    rows.to_csv(tmp_path / "split.csv", index=False)
    assert split_table(table, Split(by=str(tmp_path / "split.csv"))).equals(split)


FOUR = "a,train\nb,train\nc,validation\nd,test\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a table must have the columns patient, split, {path} does not; name its columns"),
        ("patient,part\n", "a table must have the columns patient, split, {path} does not; name"),
        (
            "patient,part,split\na,1,train\n",
            "columns patient,split or patient,slice,split, {path} has patient,part,split; rename",
        ),
        (
            "patient,split\na,val\n",
            "{path}: split must be one of train, validation, test, 1 other: val; correct the file",
        ),
        ("patient,split\na\n" + FOUR, "{path} line 2 has 1, the header has 2; correct the row"),
        ("patient,split\na,\n" + FOUR, "must be one of train, validation, test, 1 other: "),
        (
            "patient,split\ne,train\nf,train\n" + FOUR,
            "{path} must name every patient of the data and no other, 2 not in the data: e, f",
        ),
        ("patient,split\na,train\nc,validation\n", "no other, 2 missing in the file: b, d; corr"),
        (
            "patient,split\na,test\n" + FOUR,
            "{path}: a patient must be in one part, 1 in two: a; correct the file",
        ),
        (
            "patient,split\n" + FOUR.replace("validation", "train"),
            "{path} must hold a slice of part 'validation', it holds none; add some",
        ),
        ("patient,slice,split\na,one,train\n", "slice must be a whole number, 1 other: one"),
        ("patient,slice,split\na,9,train\n", "patient and slice of the data and no other, 1 not "),
        (
            "patient,slice,split\na,1,train\na,2,test\na,1,test\n",
            "{path}: a patient and slice must be in one part, 1 in two: a slice 1; correct",
        ),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = made_up_table({patient: [0, 5] for patient in "abcd"})
    path = tmp_path / "split.csv"
    path.write_text(text)
    assert message.format(path=path) in refused(lambda: split_from_file(table, path))


def test_a_split_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    assert refused(lambda: split_from_file(growing(4), path)) == (
        f"a table must be a readable file, {path} is not (No such file or directory); check the "
        "path"
    )


def test_a_split_file_that_separates_linked_patients_is_refused(tmp_path: Path) -> None:
    table = made_up_table({patient: [0, 5] for patient in "abcd"})
    path = tmp_path / "split.csv"
    path.write_text("patient,split\n" + FOUR)
    assert refused(lambda: split_from_file(table, path, groups={"a": "x", "c": "x"})) == (
        f"{path}: linked patients must share a part, 1 in two: a with c; correct the file"
    )


def test_a_patient_may_be_in_two_parts_where_the_file_goes_by_slices(tmp_path: Path) -> None:
    table = made_up_table({"a": [5, 5, 0], "b": [5]})
    path = tmp_path / "split.csv"
    path.write_text("patient,slice,split\na,1,train\na,2,validation\na,3,train\nb,1,train\n")
    split = split_from_file(table, path)
    assert split.tolist() == ["train", "validation", "train", "train"]
    assert shared_patients(table, split) == 1


def test_a_split_file_as_excel_and_a_mac_save_it_is_understood(tmp_path: Path) -> None:
    table = made_up_table({name: [0, 5] for name in ("Mu\u0308ller ", "007", "c", "d")})
    path = tmp_path / "split.csv"
    rows = (
        "sep=;",
        "Patient;Split",
        "M\u00fcller;train",
        "007;train",
        "c;validation",
        "d;test",
        "",
    )
    text = "\r\n".join(rows)
    path.write_bytes(text.encode("utf-16"))
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert split_from_file(table, path).tolist() == parts
    path.write_bytes(text.encode("latin-1"))
    assert f"UTF-16 with its mark, {path} line 3 is not: byte " in refused(
        lambda: split_from_file(table, path)
    )
