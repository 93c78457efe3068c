"""Text, JSON and JSON lines on disk: files are replaced whole, lines are appended and synced.

A file that is there and does not hold what it should is ``Unreadable``, in one sentence. No folder
is made here: one that was moved away or unmounted must not rise again, empty, in its place. An
OSError of a writer names the file, so that whoever catches it knows whose fault it is.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from brainseg.records.fields import ANY, Fields

RESTORE = "restore it from a copy"
BLOCK_BYTES = 1 << 16  # read at once to find the last line break


class Unreadable(ValueError):
    """A file does not hold what it should: which, what is wrong with it, and what to do."""

    def __init__(self, path: Path, fault: str, remedy: str = RESTORE) -> None:
        super().__init__(path, fault, remedy)  # all of them, so that it can be pickled
        self.path, self.fault, self.remedy = path, fault, remedy

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.fault}; {self.remedy}"


@contextmanager
def readable(path: Path, remedy: str = RESTORE) -> Iterator[None]:
    """Turn what is wrong with ``path`` itself into ``Unreadable``; other errors pass.

    If its folder is not there either, the error passes too: then the storage is away.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"its byte {error.start + 1} is no UTF-8", remedy) from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        if not path.parent.is_dir():
            raise
        faults = {FileNotFoundError: "it is missing", IsADirectoryError: "it is a folder"}
        fault = faults.get(type(error), str(error.strerror).lower())
        raise Unreadable(path, fault, remedy) from None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that replaces ``path`` at the end: a reader sees the old one or the new.

    If the block raises, ``path`` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Replace what ``path`` holds with ``text``, in one step."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace what ``path`` holds.

    Raises:
        ValueError: a number that is not finite, which JSON does not have.
    """
    write_text(path, _encoded(path, value, indent=1) + "\n")


def read_text(path: Path, remedy: str = RESTORE) -> str:
    """What the file says; ``Unreadable`` if it is missing, a folder, or no UTF-8."""
    with readable(path, remedy):
        return path.read_text(encoding="utf-8")


def read_json(
    path: Path, *, kind: type = object, fields: Fields = ANY, remedy: str = RESTORE
) -> Any:
    """The value that the file holds.

    Args:
        kind: what it must be: dict or list.
        fields: of it if it is a dict, or of each item of a list.

    Raises:
        Unreadable: there is no such file, or it holds no such value.
    """
    text = read_text(path, remedy)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        fault = f"it is no JSON ({error})" if text.strip() else "it is empty"
        raise Unreadable(path, fault, remedy) from None
    if not isinstance(value, kind):
        raise Unreadable(path, f"it holds no {'list' if kind is list else 'object'}", remedy)
    items = value if isinstance(value, list) else [value]
    faults = [fields.fault(item) for item in items] if fields != ANY else []
    if fault := next(filter(None, faults), ""):
        raise Unreadable(path, f"it {fault}", remedy)
    return value


def append_line(path: Path, *rows: Mapping[str, Any]) -> None:
    """Append each row as a line of JSON, all of them or none, on the disk before this returns.

    What a crash left of a line before them is removed.

    Raises:
        ValueError: a number that is not finite, which JSON does not have.
    """
    lines = b"".join(_encoded(path, row).encode() + b"\n" for row in rows)
    with naming(path), path.open("ab+", buffering=0) as file:
        _end_last_line(file)
        end = file.seek(0, os.SEEK_END)
        try:
            while lines:  # a disk that is nearly full takes part of them
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(end)
            raise


def _encoded(path: Path, value: Any, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        if not (places := list(_not_finite(value))):
            raise
        raise ValueError(
            f"{path.name} must hold finite numbers only, {', '.join(places)}; JSON has no other"
        ) from None


def _not_finite(value: Any, place: str = "") -> Iterator[str]:
    """Where a value holds NaN or infinity, as `scores.dice is nan`."""
    if isinstance(value, float) and not isfinite(value):
        yield f"{place or 'it'} is {value}"
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    for key, item in value.items() if isinstance(value, Mapping) else ():
        yield from _not_finite(item, f"{place}.{key}" if place else str(key))


def _end_last_line(file: FileIO) -> None:
    """Let the next line start where one should: after the last whole one."""
    start = size = file.seek(0, os.SEEK_END)
    tail = b""
    while start and b"\n" not in tail:
        start = max(0, start - BLOCK_BYTES if tail else start - 1)
        file.seek(start)
        tail = file.read(size - start)
    tail = tail.rpartition(b"\n")[2]
    if tail and parsed(tail) is None:
        file.truncate(size - len(tail))
    elif tail:
        file.write(b"\n")


def parsed(line: bytes, fields: Fields = ANY) -> dict[str, Any] | None:
    """The row that a line holds; None if it holds none, or none with these fields."""
    row = _value(line)
    return None if fields.fault(row) else row


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_cut(line: bytes) -> bool:
    """Whether a line is but the start of a row, as a crash leaves it."""
    text = line.removesuffix(b"\n")
    if not text.strip(b"\0"):
        return line == b"\n" or line == text  # zeros, where a file ends
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        short = error.pos > len(error.doc) - 7  # in the middle of `false` or of \u00e4
        short &= error.msg != "Extra data"
        return text[:1] == b"{" and (short or error.msg.startswith("Unterminated"))
    except (ValueError, RecursionError):
        return False
    return False


def read_lines(path: Path, fields: Fields = ANY) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; none if it does not exist. See ``Lines.new``."""
    return Lines(path, fields).new()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the block's OSErrors name ``path``; ValueError if a folder stands in its place."""
    try:
        yield
    except IsADirectoryError:
        raise ValueError(f"{path} must be a file, it is a folder; remove or rename it") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


class Lines:
    """A .jsonl file that grows: each call reads only what was appended since the last one.

    A file that was replaced, shortened or removed is read from its start again.

    Args:
        fields: of every row.
    """

    def __init__(self, path: Path, fields: Fields = ANY) -> None:
        self.path, self.fields = path, fields
        self.from_start = False  # whether the last call read from the start of the file
        self._end = 0  # bytes read so far
        self._count = 0  # lines of them
        self._last = b""  # the last line of them; if it is not there, the file was replaced

    def new(self) -> list[dict[str, Any]]:
        """The rows since the last call. A line that a crash cut short is skipped.

        What follows the last row is left alone: it may still be being written, and if it is what a
        crash left, the run's owner removes it.

        Raises:
            Unreadable: a line before another is no row.
        """
        try:
            with readable(self.path):
                lines = self._unread()
        except (Unreadable, FileNotFoundError, NotADirectoryError):
            if self.path.exists():
                raise
            self.from_start, self._end, self._count, self._last = True, 0, 0, b""
            return []
        rows, size, count = whole_rows(self.path, lines, self.fields, before=self._count)
        if count:
            self._end, self._count = self._end + size, self._count + count
            self._last = lines[count - 1]
        return rows

    def _unread(self) -> list[bytes]:
        with self.path.open("rb") as file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:
                self._end, self._count, self._last = file.seek(0), 0, b""
            self.from_start = self._end == 0
            return file.readlines()


def whole_rows(
    path: Path, lines: Sequence[bytes], fields: Fields = ANY, *, before: int = 0
) -> tuple[list[dict[str, Any]], int, int]:
    """The rows in lines of ``path``, and the bytes and the number of lines up to the last row.

    Args:
        fields: of every row.
        before: how many lines of the file are before these.

    Raises:
        Unreadable: a line before another is no row, or the file has lines and none is a row. The
            start of a row, which is what crashes leave, is passed over.
    """
    rows: list[dict[str, Any]] = []
    end = size = count = damaged = 0
    for number, line in enumerate(lines, start=1):
        end += len(line)
        row = parsed(line, fields)
        if row is not None and damaged:
            break
        if row is not None:
            rows.append(row)
            size, count = end, number
        elif not damaged and not is_cut(line):
            damaged = number
    else:
        if not damaged or before + count:
            return rows, size, count
    fault = f"its line {before + damaged} {fields.fault(_value(lines[damaged - 1]))}"
    raise Unreadable(path, fault, f"{RESTORE}, or remove that line")
