"""Which errors are a storage's fault, and what is said of them."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from brainseg.records.storage import StorageFault, storage_faults


def test_a_fault_names_the_folder_the_cause_and_the_remedy_and_survives_pickling() -> None:
    fault = pickle.loads(pickle.dumps(StorageFault(Path("/runs/a"), "No space left on device")))
    assert (fault.path, fault.cause) == (Path("/runs/a"), "No space left on device")
    assert str(fault) == (
        "/runs/a cannot be used any longer (No space left on device); make room, or mount it "
        "again, then run the same command to resume"
    )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
def test_an_error_without_a_file_is_the_first_folders(tmp_path: Path, code: int) -> None:
    with pytest.raises(StorageFault) as caught, storage_faults(tmp_path, Path("/cache")):
        raise OSError(code, os.strerror(code))
    assert caught.value.path == tmp_path


def test_an_error_of_another_folders_file_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), storage_faults(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/file")


def test_a_folder_that_went_away_is_a_fault_and_a_file_missing_from_it_is_none(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(FileNotFoundError), storage_faults(run):
        (run / "config.json").read_text(encoding="utf-8")
    run.rename(tmp_path / "moved")
    with pytest.raises(StorageFault, match="it is no longer there"), storage_faults(run):
        (run / "config.json").read_text(encoding="utf-8")
