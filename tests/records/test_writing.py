"""Writers on a storage that fails: files stay whole, and no folder rises again."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainseg.records.files import append_line, read_json, read_lines, write_json


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow above 4 kB, as on a disk that is full there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_line_that_does_not_fit_leaves_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    append_line(file, {"n": 1, "text": "x" * 3000})
    before = file.read_bytes()
    with pytest.raises(OSError) as caught:
        append_line(file, {"n": 2, "text": "x" * 3000})
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(file))
    assert file.read_bytes() == before
    append_line(file, {"n": 3})
    assert [row["n"] for row in read_lines(file)] == [1, 3]


@pytest.mark.usefixtures("small_files")
def test_a_file_that_does_not_fit_leaves_the_old_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, "old")
    with pytest.raises(OSError) as caught:
        write_json(file, "x" * 5000)
    assert caught.value.filename == str(file)
    assert read_json(file) == "old" and list(tmp_path.iterdir()) == [file]


def test_no_writer_makes_a_folder(tmp_path: Path) -> None:
    gone = tmp_path / "run" / "trials" / "0000"
    with pytest.raises(FileNotFoundError):
        append_line(gone / "metrics.jsonl", {})
    with pytest.raises(FileNotFoundError):
        write_json(gone / "config.json", {})
    assert list(tmp_path.iterdir()) == []


FILL = """
import sys
from pathlib import Path
from brainseg.records.files import append_line, read_lines, write_json, read_json
folder = Path(sys.argv[1])
write_json(folder / "a.json", "old")
try:
    for n in range(100_000):
        append_line(folder / "a.jsonl", {"n": n, "text": "x" * 999})
except OSError as error:
    print(error)
try:
    write_json(folder / "a.json", "x" * 9_999)
except OSError as error:
    print(error)
assert read_json(folder / "a.json") == "old"
rows = read_lines(folder / "a.jsonl")
assert [row["n"] for row in rows] == list(range(n)), "a line is missing"
assert (folder / "a.jsonl").read_bytes().endswith(b"\\n"), "a line is cut"
print(sorted(file.name for file in folder.iterdir()))
"""


def on_small_disk(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Python code with a disk of 64 kB mounted at ``folder``, seen by its process alone."""
    mount = f"mount -t tmpfs -o size=64k tmpfs {folder} && exec " + '"$@"'
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("only root can mount a file system")
    command = ["unshare", "-m", "bash", "-c", mount, "_", sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "mount" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    return done


def test_a_disk_that_is_full_keeps_every_whole_line_and_file(tmp_path: Path) -> None:
    done = on_small_disk(tmp_path, FILL)
    assert done.stdout.splitlines() == [
        f"[Errno 28] No space left on device: '{tmp_path}/a.jsonl'",
        f"[Errno 28] No space left on device: '{tmp_path}/a.json'",
        "['a.json', 'a.jsonl']",
    ], done.stderr


NAMES_THE_FULL_ONE = """
import sys
from pathlib import Path
from brainseg.records.storage import fault_of
full = Path(sys.argv[1])
try:
    with open(full / "a", "wb", buffering=0) as file:
        while file.write(b"x" * 999):
            pass
except OSError as error:
    assert error.filename is None
    print(fault_of(error, full.parent, full).path)
"""


def test_an_error_that_names_no_file_is_that_of_the_disk_that_is_full(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    done = on_small_disk(full, NAMES_THE_FULL_ONE)
    assert done.stdout == f"{full}\n", done.stderr
