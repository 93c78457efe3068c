"""The writers of ``records.files`` for tests that start with no folder: these make it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg.records import files
from brainseg.records.run import Run


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, value)


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.append_line(path, row)


def new_run(path: Path) -> Run:
    """A run whose folder is there, as ``open_run`` leaves it."""
    run = Run(path)
    run.create()
    return run
