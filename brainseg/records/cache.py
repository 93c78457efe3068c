"""A node's cache: where it is, how one of its folders is filled exactly once, and its files.

A file starts with a checksum of the rest: a damaged one counts as missing.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from brainseg.records.files import replacing
from brainseg.records.locks import locked
from brainseg.records.storage import StorageFault

DIGEST_BYTES = 16


class CacheFault(StorageFault, ValueError):
    """The cache cannot be used: to be set right before the first trial; later the machine's fault.

    Attributes:
        sentence: the rule, the folder and the remedy.
    """

    def __init__(self, path: Path, cause: str, sentence: str) -> None:
        super().__init__(path, cause)
        self.args, self.sentence = (path, cause, sentence), sentence  # pickled by these

    def __str__(self) -> str:
        return self.sentence


def default_cache() -> Path:
    """$BRAINSEG_CACHE, else brainseg in the user's cache folder."""
    if chosen := os.environ.get("BRAINSEG_CACHE"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainseg"
    except RuntimeError:
        raise ValueError(
            "the cache must have a folder, and this user has no home; set BRAINSEG_CACHE to one"
        ) from None


def fill_once(
    folder: Path,
    fill: Callable[[Path], None],
    *,
    num_bytes: int,
    lock: str = "",
    is_whole: Callable[[Path], bool] = os.path.isdir,
) -> None:
    """Let ``fill`` write a folder, unless it is whole; of several processes, one does it.

    ``fill`` gets the path of a draft, which is renamed at the end: a folder of the final name is
    complete. A draft that was left by a process that died is removed.

    Args:
        num_bytes: what the files will take on disk.
        is_whole: whether the folder may stay as it is. Another is renamed and then removed, so that
            who has mapped its files keeps them.
        lock: name of the lock file beside the folder. Folders that share one are filled one after
            the other. Default: a lock for this folder alone.

    Raises:
        CacheFault: the cache cannot be written to, or has too little room.
    """
    lock_path = folder.with_name(lock) if lock else folder.with_suffix(".lock")
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock_path):
            if not is_whole(folder):
                _set_aside(folder)
                _fill(folder, fill, num_bytes, draft=lock_path.with_suffix(".partial"))
    except OSError as error:
        cause = str(error.strerror or error)
        raise CacheFault(
            folder.parent,
            cause,
            f"the cache must be a writable folder with room for {megabytes(num_bytes)}, "
            f"{folder.parent} is not ({cause}); set BRAINSEG_CACHE to another",
        ) from error


def _fill(folder: Path, fill: Callable[[Path], None], num_bytes: int, draft: Path) -> None:
    _remove(draft)  # we hold the lock: whoever wrote it died
    for left in folder.parent.glob(f".{folder.name}.*.damaged"):
        _remove(left)
    _require_room(folder.parent, num_bytes)
    draft.mkdir()
    try:
        fill(draft)
        _sync(draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _sync(folder.parent)


def _set_aside(folder: Path) -> None:
    """Remove a damaged folder; on a shared disk, files that others have open may stay a while."""
    if os.path.lexists(folder):
        aside = folder.with_name(f".{folder.name}.{time.time_ns()}.damaged")
        folder.rename(aside)
        _remove(aside)


def _remove(path: Path) -> None:
    """Remove a folder or a file, as far as it can be."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"


def _sync(folder: Path) -> None:
    """Bring a folder's entries to disk; the data of a file does not include its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_room(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        needed = f"room for {megabytes(num_bytes)}, {folder} has {megabytes(free)} free"
        raise CacheFault(
            folder,
            f"{megabytes(num_bytes)} are needed, {megabytes(free)} are free",
            f"the cache must have {needed}; free some, or set BRAINSEG_CACHE to another disk",
        )


def save_checked(path: Path, content: bytes) -> None:
    """Replace what ``path`` holds with ``content`` and its checksum, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)  # in a cache, which may be emptied at any time
    with replacing(path) as file:
        file.write(_checksum(content))
        file.write(content)


def read_checked(path: Path) -> bytes | None:
    """What ``save_checked`` wrote; None where the file is missing, damaged or another's."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    checksum, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    return content if checksum == _checksum(content) else None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
