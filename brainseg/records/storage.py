"""A folder that fails in the middle: which errors of a write mean that, and how they are said.

A storage that is full, read-only, broken or gone is the machine's fault: no trial has failed, and
the same command resumes once the folder is well again.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
BROKEN = frozenset(
    {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN}
    | {errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN, errno.EUCLEAN, errno.ESHUTDOWN}
)
UNNAMED = frozenset({errno.EROFS, errno.EIO, errno.ESTALE})  # as no network connection fails
DENIED = frozenset({errno.EACCES, errno.EPERM})
GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
LITTLE_BYTES = 1_000_000  # free on a disk that counts as full
GONE_WORDS = "it is no longer there"


class MachineFault(Exception):
    """A machine failed in the middle, and no trial for it: the same command resumes."""


class StorageFault(MachineFault):
    """A folder that a sweep writes to, or reads from, failed while it ran.

    Attributes:
        path: the folder.
        cause: what the system said of it.
    """

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(path, cause)  # pickled by these, as Ray does with a trial's error
        self.path, self.cause = path, cause

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be used any longer ({self.cause}); make room, or mount it again, "
            "then run the same command to resume"
        )


@contextmanager
def storage_faults(*folders: Path) -> Iterator[None]:
    """Turn an OSError of the block that one of ``folders`` caused into a StorageFault.

    An error that names no file counts as that of a folder whose disk is full, else as the first
    one's. A file that is missing from a folder
    that is there is no fault of the storage, and left as it is.
    """
    try:
        yield
    except OSError as error:
        fault = fault_of(error, *folders)
        if fault is None:
            raise
        raise fault from error


def fault_of(error: OSError, *folders: Path) -> StorageFault | None:
    """The fault of one of ``folders`` that ``error`` shows; None if it shows none."""
    folder = _concerned(error, folders)
    if folder is None or error.errno is None:
        return None
    if error.errno in (NO_ROOM | BROKEN | DENIED if error.filename else NO_ROOM | UNNAMED):
        return StorageFault(folder, os.strerror(error.errno))
    if error.errno in GONE and not folder.is_dir():
        return StorageFault(folder, GONE_WORDS)
    return None


def is_fault(error: OSError) -> bool:
    """Whether a machine failed, and not a person who named a wrong path."""
    return error.errno in NO_ROOM | BROKEN


def words_of(errors: Iterable[int]) -> set[str]:
    """What the system says of these numbers of errors."""
    return {os.strerror(number) for number in errors}


def _concerned(error: OSError, folders: tuple[Path, ...]) -> Path | None:
    """The folder in which the error's file is; if it names none, one that is full, or the first."""
    if not isinstance(error.filename, str | os.PathLike):
        full = (f for f in folders if f.is_dir() and shutil.disk_usage(f).free < LITTLE_BYTES)
        return next(full, folders[0] if folders else None)
    file = Path(error.filename).absolute()
    return next((f for f in folders if file.is_relative_to(f.absolute())), None)
