"""A folder of the cache is whole or absent, whoever fills it, fails or dies."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainseg.records.cache import CacheFault, fill_once
from brainseg.records.storage import StorageFault


def test_a_folder_is_filled_once_and_others_wait_for_it(tmp_path: Path) -> None:
    filled: list[int] = []
    together = threading.Barrier(4)

    def write(draft: Path) -> None:
        filled.append(threading.get_ident())
        (draft / "file").write_text("whole")

    def ask() -> str:
        together.wait()
        fill_once(tmp_path / "folder", write, num_bytes=1)
        return (tmp_path / "folder" / "file").read_text()

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        assert [answer.result() for answer in asked] == ["whole"] * 4
    assert len(filled) == 1


def test_a_folder_that_could_not_be_filled_leaves_nothing(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "half").write_text("")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fill_once(tmp_path / "folder", fail, num_bytes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.lock"]


def test_what_a_dead_process_left_goes_whichever_folder_it_was_to_be(tmp_path: Path) -> None:
    (tmp_path / ".lock.partial").mkdir()
    (tmp_path / ".lock.partial" / "half").write_text("")
    fill_once(tmp_path / "other", lambda draft: None, num_bytes=1, lock=".lock")
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "other"}
    assert not list((tmp_path / "other").iterdir())


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have room for 1000000000000.0 MB, .* free some"):
        fill_once(tmp_path / "folder", lambda draft: None, num_bytes=10**18)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.lock"]


def test_a_cache_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    rule = "the cache must be a writable folder with room for 0.0 MB, .*/cache is not"
    with pytest.raises(ValueError, match=rule):
        fill_once(tmp_path / "cache" / "folder", lambda draft: None, num_bytes=1)


def test_a_fault_of_the_cache_is_bad_input_and_the_machine_s_and_survives_pickling(
    tmp_path: Path,
) -> None:
    with pytest.raises(CacheFault) as caught:
        fill_once(tmp_path / "pack", Path.mkdir, num_bytes=10**18)
    fault = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(fault, ValueError) and isinstance(fault, StorageFault)
    assert str(fault).startswith("the cache must have room for 1000000000000.0 MB")
    assert fault.path == tmp_path and fault.cause.startswith("1000000000000.0 MB are needed, ")
