"""A table that a person saved as text: UTF-8 or UTF-16, cells between commas, semicolons or tabs.

Which of the three it is, the header decides: with only one of them it names the needed columns.
Nothing is repaired. Text in another encoding, a quote that does not close and a row with more or
fewer cells than the header are refused with their line.
"""

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from brainseg.data.readers.problems import Problem, Refused

DELIMITERS = ",;\t"
HEADER_BYTES = 1 << 16  # at most; a header is looked for in no more
ENCODINGS = {  # by their first bytes; without them a file must be UTF-8
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
EXCEL = re.compile(r'\A"?sep=[^\r\n]*', re.I)  # its first line may name the delimiter
CORRECT = "correct the row"


@dataclass(frozen=True)
class Row:
    """The cells of a row by their column, without spaces around them."""

    line: int  # where it begins, counted from 1
    cells: dict[str, str]


def header(path: Path, needed: Collection[str]) -> list[str]:
    """The columns of a table, in small letters; [] if it is none or lacks a needed one."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except OSError:
        return []
    text = start.decode(_encoding(start) or "utf-8", errors="replace")
    return _header(text.replace("\0", ""), needed)[1]


def read_rows(path: Path, name: str, needed: Collection[str]) -> tuple[list[Row], list[Problem]]:
    """Return the rows of a table and what is wrong with others; blank rows are left out.

    Raises:
        Refused: the file cannot be read, is not UTF-8 or UTF-16, lacks a needed column or names
            one twice.
    """
    text = _text(path, name)
    delimiter, columns = _header(text, needed)
    if not columns:
        rule = f"a table must have the columns {', '.join(needed)}"
        raise Refused(Problem(name, rule, "does not", "name its columns in the first line"))
    for column in columns:
        if column and columns.count(column) > 1:
            rule, fault = "a table must name each column once", f"names {column!r} twice"
            raise Refused(Problem(f"{name} line 1", rule, fault, "rename or remove one"))
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        for line, cells in _filled_rows(text, delimiter, name):
            if len(cells) != len(columns):
                rule = "a row must have as many cells as the header"
                fault = f"has {len(cells)}, the header has {len(columns)}"
                problems.append(Problem(f"{name} line {line}", rule, fault, CORRECT))
            else:
                rows.append(Row(line, dict(zip(columns, cells, strict=True))))
    except Refused as refusal:
        problems.append(refusal.problem)
    return rows[1:], problems  # the header is the first row


def _encoding(content: bytes) -> str | None:
    return next((codec for mark, codec in ENCODINGS.items() if content.startswith(mark)), None)


def _text(path: Path, name: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        rule, fault = "a table must be a readable file", f"is not ({error.strerror})"
        raise Refused(Problem(name, rule, fault, "check the path")) from None
    encoding = _encoding(content) or "utf-8"
    bad = content.find(b"\0") if encoding.startswith("utf-8") else -1  # of UTF-16 without its mark
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        bad = error.start if bad < 0 else min(bad, error.start)
    if bad >= 0:
        line = _line(content[:bad].decode(encoding, errors="replace"))
        rule = "a table must be text in UTF-8, or in UTF-16 with its mark"
        fault = f"is not: byte {bad + 1} of the file is 0x{content[bad]:02x}"
        remedy = "save it as UTF-8 (Excel: CSV UTF-8)"
        raise Refused(Problem(f"{name} line {line}", rule, fault, remedy))
    if (lost := text.find("\ufffd")) >= 0:
        rule, fault = "a table must be whole", "holds U+FFFD, which stands for a lost character"
        remedy = "export it anew as UTF-8"
        raise Refused(Problem(f"{name} line {_line(text[:lost])}", rule, fault, remedy))
    return EXCEL.sub("", text.removeprefix("\ufeff"))


def _line(before: str) -> int:
    return 1 + (before.count("\n") or before.count("\r"))


def _header(text: str, needed: Collection[str]) -> tuple[str, list[str]]:
    """The delimiter that gives the needed columns, and all columns; [] if none does."""
    text = EXCEL.sub("", text.removeprefix("\ufeff"))
    for delimiter in DELIMITERS:
        try:
            first = next((cells for _, cells in _filled_rows(text, delimiter, "")), [])
        except Refused:
            continue
        columns = [column.lower() for column in first]
        if set(needed) <= set(columns):
            return delimiter, columns
    return "", []


def _filled_rows(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with any text in them, and the line on which each begins."""
    reader = csv.reader(
        StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error:
        rule = "a table must have quotes that close, and cells below 131,072 characters"
        remedy = "correct the row; rows after it were not read"
        raise Refused(Problem(f"{name} line {line}", rule, "does not", remedy)) from None
