"""Text, JSON and JSON lines on disk: files are replaced whole, lines are appended and synced."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that replaces ``path`` at the end: a reader sees the old one or the new.

    If the block raises, ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace what ``path`` holds with ``text``, in one step."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append ``row`` as one line of JSON, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # cut short by a crash: start a new line
                file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; none if it does not exist. An incomplete line is skipped."""
    return Lines(path).new()


class Lines:
    """A .jsonl file that grows: each call reads only what was appended since the last one.

    A file that was replaced, shortened or removed is read from its start again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.from_start = False  # whether the last call read from the start of the file
        self._end = 0  # bytes read so far
        self._last = b""  # the last line of them; if it is not there, the file was replaced

    def new(self) -> list[dict[str, Any]]:
        """The rows since the last call. An incomplete line is left until it is complete."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._end - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._end, self._last = file.seek(0), b""
                self.from_start = self._end == 0
                lines = file.read().splitlines(keepends=True)
        except (FileNotFoundError, NotADirectoryError):
            self.from_start, self._end, self._last = True, 0, b""
            return []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                if not line.endswith(b"\n"):
                    break  # it may still be being written
            self._end, self._last = self._end + len(line), line
        return rows
