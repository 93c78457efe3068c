"""Whatever becomes of a file in the cache, the result is that of a new cache, and it is said."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainseg.cli.options.rehearsal import made_up_patients
from brainseg.data import checksums
from brainseg.data.checksums import damage, ensure_whole
from brainseg.data.dataset import read_data
from brainseg.data.fingerprint import fingerprint
from brainseg.data.pack.store import open_pack
from brainseg.data.partition import linked_patients
from brainseg.data.phantom import write_phantoms
from brainseg.models.catalogue import look_up
from tests.support.packs import packed, write_folder


def flipped(content: bytes) -> bytes:
    """One bit in the middle of the file: its size and, as a disk's fault has it, its time stay."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut by one byte": lambda content: content[:-1],
    "a bit flipped": flipped,
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "of zeros": lambda content: bytes(len(content)),
}


def damaged(path: Path, how: str) -> None:
    stat = path.stat()
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def results(root: Path) -> tuple[str, list[str]]:
    """All that is computed by way of the cache, and what was said meanwhile."""
    said: list[str] = []
    data = read_data(f"file://{root}", "auto", said.append)
    facts = look_up(["resnet18"])["resnet18"]
    pack = open_pack(data.table, data.root, image_size=32, log=said.append)
    made_up = made_up_patients(root.parent / "cache", smoke=True)
    values: list[Any] = [
        data.table.to_csv(),
        fingerprint(data.table, data.root),
        linked_patients(data, lambda line: None),
        facts if isinstance(facts, str) else asdict(facts),
        pack.slices_NHWD.tolist(),
        pack.histograms_NC256.tolist(),
        fingerprint(read_data(str(made_up), "auto", said.append).table, made_up),
    ]
    return json.dumps(values), [line for line in said if "made again" in line]


def test_every_file_of_a_filled_cache_may_be_damaged_in_any_way(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_phantoms(tmp_path / "data", patients=2, slices=3, size=32)
    for path in root.rglob("*.*"):
        os.utime(path, (time.time() - 60,) * 2)
    fresh, nothing = results(root)
    assert not nothing and results(root) == (fresh, [])
    capsys.readouterr()
    kinds = {"packs": 0, "data": 0, "facts": 0, "encoders": 0, "few": 0}
    names = sorted(
        path.relative_to(cache)
        for path in cache.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    )
    pictures = [name for name in names if name.suffix == ".tif"]
    for name in sorted(set(names) - set(pictures[1:-1])):  # of many alike, a few
        kinds[name.parts[0]] += 1
        for how in DAMAGES:
            (path,) = cache.glob(str(name))
            damaged(path, how)
            values, said = results(root)
            assert values == fresh, (name, how)
            said += [line for line in capsys.readouterr().out.splitlines() if "again" in line]
            expected = 0 if name.parts[0] in ("facts", "encoders") else 1
            assert len(said) == expected, (name, how, said)
        path.unlink()
        assert results(root)[0] == fresh, (name, "missing")
        capsys.readouterr()
    assert all(kinds.values()), kinds


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_pack_is_named_and_built_again_while_another_keeps_its_own(
    tmp_path: Path, cache: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder(tmp_path / "root", 40)
    before = packed(root, cache)
    pixels = before.slices_NHWD.copy()
    (folder,) = (cache / "packs").glob("[!.]*")
    if how == "a bit flipped":
        damaged(folder / "slices.npy", how)
    else:
        damaged(folder / "histograms.npy", how)
    again = packed(root, cache)
    name = "slices" if how == "a bit flipped" else "histograms"
    assert capsys.readouterr().out == (
        f"{folder} is made again: {name}.npy does not have its checksum\n"
    )
    assert np.array_equal(again.slices_NHWD, pixels)
    if name == "histograms":  # who has the old files mapped keeps them
        assert np.array_equal(before.slices_NHWD, pixels)
    assert not damage(folder) and {path.name for path in folder.parent.iterdir()} == {
        ".lock",
        folder.name,
    }


def test_a_pack_of_an_earlier_version_and_one_that_is_no_folder_are_built_again(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder(tmp_path / "root", 3)
    pixels = packed(root, cache).slices_NHWD.copy()
    (folder,) = (cache / "packs").glob("[!.]*")
    (folder / ".checksums").unlink()
    assert np.array_equal(packed(root, cache).slices_NHWD, pixels)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("a file")
    assert np.array_equal(packed(root, cache).slices_NHWD, pixels)
    line = f"{folder} is made again: its checksums are missing or damaged\n"
    assert capsys.readouterr().out == 2 * line


def test_a_damaged_pack_of_files_that_changed_since_is_refused(tmp_path: Path, cache: Path) -> None:
    root = write_folder(tmp_path / "root", 3)
    table = read_data(str(root), "auto", print).table
    recorded = fingerprint(table, root)
    open_pack(table, root, image_size=16, recorded=recorded)
    (folder,) = (cache / "packs").glob("[!.]*")
    damaged(folder / "slices.npy", "a bit flipped")
    shutil.copyfile(root / "p" / "p_1.tif", root / "p" / "p_2.tif")
    for _ in range(2):
        with pytest.raises(ValueError, match="files must not change during a run"):
            open_pack(table, root, image_size=16, recorded=recorded)


@pytest.mark.parametrize("name", ["slices.npy", ".checksums", "the draft", "an old one"])
def test_what_stands_where_a_pack_s_parts_belong_is_removed(
    tmp_path: Path, cache: Path, name: str
) -> None:
    root = write_folder(tmp_path / "root", 3)
    pixels = packed(root, cache).slices_NHWD.copy()
    (folder,) = (cache / "packs").glob("[!.]*")
    if name == "the draft":
        (folder.parent / ".lock.partial").write_text("a file")
    elif name == "an old one":
        (folder.parent / f".{folder.name}.1.damaged").mkdir()
    if (folder / name).exists():
        (folder / name).unlink()
        (folder / name).mkdir()
    else:
        (folder / "slices.npy").unlink()
    assert np.array_equal(packed(root, cache).slices_NHWD, pixels)
    assert {path.name for path in folder.parent.iterdir()} == {".lock", folder.name}


CUT_IN_USE = """
import os, sys
from pathlib import Path
from tests.support.packs import packed

pack = packed(Path(sys.argv[1]), Path(sys.argv[2]))
(file,) = Path(sys.argv[2]).glob("packs/*/slices.npy")
os.truncate(file, 4096)
pack.slices_NHWD.sum()
"""


def test_a_pack_cut_while_a_trial_reads_it_ends_the_process_and_not_the_next(
    tmp_path: Path, cache: Path
) -> None:
    root = write_folder(tmp_path / "root", 100)
    died = subprocess.run([sys.executable, "-c", CUT_IN_USE, str(root), str(cache)])
    assert died.returncode == -signal.SIGBUS  # Tune starts the trial again
    assert packed(root, cache).images_NHWC[:, 0, 0, 0].tolist() == list(range(1, 101))


SPOILED = """
import sys
from pathlib import Path
from brainseg.data.checksums import ensure_whole

def spoil(event, args):
    if event == "os.rename" and str(args[0]).endswith(".partial"):
        (Path(args[0]) / "a").write_text("other")

sys.addaudithook(spoil)
ensure_whole(Path(sys.argv[1]), lambda draft: (draft / "a").write_text("x"), num_bytes=1, log=print)
"""


def test_a_disk_that_keeps_other_bytes_than_were_written_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPOILED, str(tmp_path / "f")], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(
        f"the cache must keep what is written to it, {tmp_path}/f was just written and a does not "
        "have its checksum; set BRAINSEG_CACHE to another disk"
    )


def test_a_process_compares_a_whole_folder_once_and_again_once_a_file_of_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    ensure_whole(folder, lambda draft: _written(draft / "a", "x"), num_bytes=1, log=print)
    time.sleep(1.1)  # until a file that was just written is told from a next writing
    compared: list[Path] = []
    real = checksums._checksum
    monkeypatch.setattr(checksums, "_checksum", lambda path: (compared.append(path), real(path))[1])
    assert [damage(folder) for _ in range(3)] == [""] * 3 and len(compared) == 1
    damaged(folder / "a", "a bit flipped")  # and its size and time are as they were
    assert [damage(folder) for _ in range(2)] == ["a does not have its checksum"] * 2
    assert len(compared) == 3


def _written(path: Path, text: str) -> None:
    path.write_text(text)
