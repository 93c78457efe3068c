"""Whatever wrote a table, it is read as written, or refused with its line."""

import csv
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from brainseg.data.readers.delimited import header, read_rows
from brainseg.data.readers.problems import Refused

COLUMNS = ("image", "mask", "patient")
NO_CONTROL = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffd")
CELL = st.text(st.one_of(NO_CONTROL, st.sampled_from(",;\t\"'\n|\\ ")), max_size=8).map(str.strip)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252", "utf-16-le", "cp437")


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def refusals(path: Path) -> list[str]:
    try:
        return [str(problem) for problem in read_rows(path, path.name, COLUMNS)[1]]
    except Refused as refusal:
        return [str(refusal)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL, CELL), min_size=1, max_size=4),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(ENCODINGS),
    excel=st.booleans(),
)
def test_what_the_csv_module_writes_is_read_as_written_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    delimiter: str,
    quoting: int,
    end: str,
    encoding: str,
    excel: bool,
) -> None:
    rows = [tuple(cell.replace("\n", end) for cell in row) for row in rows]  # else not quoted
    columns = ("Image", " mask ", "site", "PATIENT")
    text = StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(columns)
    writer.writerows(rows)
    first = f"sep={delimiter}{end}" if excel else ""
    path = tmp_path_factory.getbasetemp() / "m.csv"
    try:
        write(path, first + text.getvalue(), encoding)
    except UnicodeEncodeError:
        assume(False)
    try:
        listed, problems = read_rows(path, "m.csv", COLUMNS)
    except Refused as refusal:
        assert encoding not in ("utf-8", "utf-8-sig", "utf-16", "utf-32")
        assert "m.csv line " in str(refusal)
        return
    if encoding in ("latin-1", "cp1252", "cp437"):  # bytes that happen to be UTF-8 as well
        assume((first + text.getvalue()).isascii())
    assert problems == []
    assert [tuple(row.cells.values()) for row in listed] == [row for row in rows if any(row)]
    assert set(header(path, COLUMNS)) == {"image", "mask", "site", "patient"}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be"])
def test_another_encoding_is_refused_with_line_and_byte(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "m.csv", "image,mask,patient\na,b,c\na,b,Müller\n", encoding)
    wide = encoding.startswith("utf-16")
    line, byte, value = (1, 2 - (encoding == "utf-16-be"), 0) if wide else (3, 31, 0xFC)
    assert header(path, COLUMNS) == [*COLUMNS]
    assert refusals(path) == [
        f"a table must be text in UTF-8, or in UTF-16 with its mark, m.csv line {line} is not: "
        f"byte {byte} of the file is 0x{value:02x}; save it as UTF-8 (Excel: CSV UTF-8)"
    ]


def test_characters_that_an_earlier_program_lost_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "image,mask,patient\na,b,c\na,b,M\ufffdller\n")
    assert refusals(path) == [
        "a table must be whole, m.csv line 3 holds U+FFFD, which stands for a lost character; "
        "export it anew as UTF-8"
    ]


def test_a_row_keeps_its_line_below_blank_rows_and_cells_of_several_lines(tmp_path: Path) -> None:
    text = '\n\nimage;mask;patient\n;;\n"a\nb";c;007\n\n a ; b ;x\na;b\na;b;c;d\n'
    path = write(tmp_path / "m.csv", text)
    rows, problems = read_rows(path, "m.csv", COLUMNS)
    assert [(row.line, *row.cells.values()) for row in rows] == [
        (5, "a\nb", "c", "007"),
        (8, "a", "b", "x"),
    ]
    rule = "a row must have as many cells as the header, m.csv line"
    assert [str(problem) for problem in problems] == [
        f"{rule} 9 has 2, the header has 3; correct the row",
        f"{rule} 10 has 4, the header has 3; correct the row",
    ]


def test_a_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "image,mask,patient, Patient\na,b,c,d\n")
    assert refusals(path) == [
        "a table must name each column once, m.csv line 1 names 'patient' twice; rename or remove "
        "one"
    ]


@pytest.mark.parametrize("row", ['a,"b,c', 'a,"b"b,c', 'a,"b,c\nd,e,f'])
def test_a_quote_that_does_not_close_swallows_no_rows(tmp_path: Path, row: str) -> None:
    path = write(tmp_path / "m.csv", f"image,mask,patient\na,b,c\n{row}\nd,e,f\n")
    rows, problems = read_rows(path, "m.csv", COLUMNS)
    assert [row.line for row in rows] == [2]
    assert [problem.file for problem in problems] == ["m.csv line 3"]


def test_a_table_of_other_columns_is_no_manifest(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "image|mask|patient\na|b|c\n")
    assert header(path, COLUMNS) == []
    assert refusals(path) == [
        "a table must have the columns image, mask, patient, m.csv does not; name its columns in "
        "the first line"
    ]
