"""The content of a file is read once, and again where its size or times differ."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from brainseg.data.readers.contents import contents

NAMES = ("a", "folder/b", "c")
opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files that have long stayed as they are."""
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    for name in NAMES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (time.time() - 60,) * 2)
    return tmp_path / "data"


@contextmanager
def reading(root: Path, *expected: str) -> Iterator[None]:
    """Of the files under root, exactly the expected ones are opened."""
    opened.clear()
    yield
    assert sorted(p.removeprefix(f"{root}/") for p in opened if p.startswith(f"{root}/")) == sorted(
        expected
    )


def test_only_a_file_whose_time_or_size_differs_is_read_again(root: Path) -> None:
    with reading(root, *NAMES):
        first = contents(root, NAMES)
    assert len(set(first.values())) == 3 and all(len(hash) == 32 for hash in first.values())
    with reading(root):
        assert contents(root, NAMES) == first
    os.utime(root / "a", (1, 1))
    with reading(root, "a"):
        assert list(contents(root, NAMES).items()) == list(first.items()), "in the order asked for"
    with reading(root):
        assert contents(root, NAMES) == first
    (root / "c").write_text("d")
    with reading(root, "c"):
        changed = contents(root, NAMES)
    assert changed["c"] != first["c"] and changed | {"c": first["c"]} == first


def test_who_asks_for_some_files_leaves_what_is_known_of_the_others(root: Path) -> None:
    first = contents(root, NAMES)
    os.utime(root / "a", (1, 1))
    assert contents(root, ["a"]) == {"a": first["a"]}
    with reading(root):
        assert contents(root, NAMES) == first


def test_a_file_that_was_written_a_moment_ago_is_read_again(root: Path) -> None:
    (root / "a").write_text("young")
    with reading(root, "a"):
        contents(root, ["a"])
    with reading(root, "a"):
        contents(root, ["a"])


def test_what_is_no_file_has_no_content_and_a_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert contents(root, ["pipe", "folder", "gone"]) == {"pipe": "", "folder": "", "gone": ""}


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"nonsense" * 99])
def test_a_damaged_cache_costs_time_and_nothing_else(root: Path, damage: bytes) -> None:
    first = contents(root, NAMES)
    (kept,) = (root.parent / "cache" / "facts").iterdir()
    kept.write_bytes(damage)
    with reading(root, *NAMES):
        assert contents(root, NAMES) == first
    with reading(root):
        assert contents(root, NAMES) == first
