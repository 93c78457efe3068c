"""A folder that was read once is not decoded again; a file that changed is."""

import os
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.records.cache import read_checked
from tests.support.scans import as_nifti, blob, write_picture

READ = """
import sys
from pathlib import Path

root, cache, opened = Path(sys.argv[1]), Path(sys.argv[2]), []

def note(event, arguments):
    if event == "open" and str(arguments[0]).startswith(f"{root}/"):
        opened.append(str(arguments[0]))

sys.addaudithook(note)
from brainseg.data.dataset import read_data
from brainseg.data.pack.store import open_pack
from brainseg.data.partition import linked_patients

data = read_data(str(root), "auto", lambda line: None)
groups = linked_patients(data, lambda line: None)
channels = 3 if data.layout == "lgg" else int(sys.argv[3])
open_pack(data.table, data.root, image_size=32, channels=channels)
print(*opened, sep="\\n")
print(data.table["tumour_pixels"].tolist(), groups, file=sys.stderr)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two patients whose files have long stayed as they are."""
    return aged(write_phantoms(tmp_path / "data", patients=2, slices=4, size=32))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def aged(root: Path) -> Path:
    for path in root.rglob("*.*"):
        os.utime(path, (time.time() - 60,) * 2)
    return root


def read(root: Path) -> tuple[Counter[str], str]:
    """List, hash and pack a folder in a process of its own: how often each file was opened.

    And what was found. Each decoding of a picture opens it once, for its header.
    """
    done = subprocess.run(
        [sys.executable, "-c", READ, str(root), os.environ["BRAINSEG_CACHE"], "3"],
        capture_output=True,
        text=True,
        check=True,
    )
    opened = (Path(line).relative_to(root).as_posix() for line in done.stdout.split())
    return Counter(name for name in opened if name.endswith((".tif", ".gz"))), done.stderr


def test_a_file_is_decoded_twice_at_most_and_never_again(root: Path) -> None:
    first, result = read(root)
    assert len(first) == len(list(root.rglob("*.tif")))
    assert set(first.values()) == {3}, "once for its content"
    assert read(root) == (Counter(), result)


def test_of_touched_files_the_content_is_read_and_nothing_is_decoded(root: Path) -> None:
    first, result = read(root)
    for path in root.rglob("*.tif"):
        os.utime(path, (time.time() - 30,) * 2)
    again, same = read(root)
    assert set(again) == set(first) and set(again.values()) == {1} and same == result
    assert read(root) == (Counter(), result)


def test_of_a_volume_that_was_read_before_only_the_header_is_read(
    root: Path, tmp_path: Path
) -> None:
    as_nifti(root, tmp_path / "volumes")
    aged(tmp_path / "volumes")
    _, result = read(tmp_path / "volumes")
    again, same = read(tmp_path / "volumes")
    assert set(again.values()) == {1} and same == result


def test_only_a_file_that_changed_is_read_again(root: Path) -> None:
    find_slices(root)
    mask = sorted(root.rglob("*_1_mask.tif"))[0]
    stat = mask.stat()
    write_picture(mask, blob(32, 32))
    assert mask.stat().st_size == stat.st_size
    os.utime(mask, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as rsync and cp -p do
    table = find_slices(root)
    assert table["tumour_pixels"][table["mask"] == mask.relative_to(root).as_posix()].item() == 64


def rows_in(kept: Path) -> NDArray[Any]:
    content = read_checked(kept)
    assert content is not None
    rows: NDArray[Any] = np.load(BytesIO(content))
    return rows


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nonsense" * 99])
def test_a_damaged_cache_costs_time_and_nothing_else(
    root: Path, cache: Path, content: bytes
) -> None:
    first = find_slices(root)
    (kept,) = (cache / "facts").glob("areas-*")
    kept.write_bytes(content)
    assert find_slices(root).equals(first)
    assert len(rows_in(kept)) == len(first)  # written anew


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = find_slices(root)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "file"))
    assert find_slices(root).equals(expected)


def test_two_folders_are_kept_apart(root: Path, tmp_path: Path, cache: Path) -> None:
    other = aged(write_phantoms(tmp_path / "other", patients=2, slices=4, size=32, seed=1))
    tables = [find_slices(folder) for folder in (root, other, root, other)]
    assert tables[0].equals(tables[2]) and tables[1].equals(tables[3])
    assert len(list((cache / "facts").glob("areas-*"))) == 2
