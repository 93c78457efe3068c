"""Folders of the cache, whole to the byte: a damaged one is set aside and filled again.

Each has a checksum of every file in a hidden file of its own. XXH3 reads 1 GB from memory in
0.07 s on one core, so every process compares them before it uses a folder. It does not again while
no file of it is written or replaced, as for its next trial.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import xxhash

from brainseg.process import Identity, Log, Recent, are_settled, identities
from brainseg.records.cache import CacheFault, fill_once, read_checked, save_checked

CHECKSUMS = ".checksums"
MISSING = "it is missing"
_whole = Recent[Path, tuple[Identity, ...]](most=64)  # the files of folders that were whole


def ensure_whole(
    folder: Path, fill: Callable[[Path], None], *, num_bytes: int, lock: str = "", log: Log
) -> None:
    """Let ``fill`` write a folder that is missing or damaged; see ``fill_once``.

    A damaged one is named. Who has mapped its files keeps them as they are.

    Raises:
        CacheFault: as ``fill_once``, or the disk does not keep what is written to it.
        ValueError: as ``fill``.
    """
    if not (fault := damage(folder)):
        return

    def fill_and_sign(draft: Path) -> None:
        if fault != MISSING:
            log(f"{folder} is made again: {fault}")
        fill(draft)
        _sign(draft)

    fill_once(
        folder,
        fill_and_sign,
        num_bytes=num_bytes,
        lock=lock,
        is_whole=lambda folder: not damage(folder),
    )
    if again := damage(folder):
        raise CacheFault(
            folder,
            again,
            f"the cache must keep what is written to it, {folder} was just written and {again}; "
            "set BRAINSEG_CACHE to another disk",
        )


def damage(folder: Path) -> str:
    """What is wrong with a folder, or nothing; times of files are set back to what they were."""
    if not os.path.lexists(folder):
        return MISSING
    content = read_checked(folder / CHECKSUMS)
    if content is None:
        return "its checksums are missing or damaged"
    entries = json.loads(content)
    paths = [folder / name for name in (CHECKSUMS, *entries)]
    files = identities(paths)
    if _whole.find(folder) == files:
        return ""
    with ThreadPoolExecutor() as pool:
        faults = pool.map(lambda entry: _fault(folder, *entry), entries.items())
        fault = next(filter(None, faults), "")
    if not fault and are_settled(files) and files == identities(paths):  # not changed meanwhile
        _whole.keep(folder, files)
    return fault


def _fault(folder: Path, name: str, recorded: tuple[str, int]) -> str:
    checksum, mtime_ns = recorded
    path = folder / name
    try:
        if _checksum(path) != checksum:
            return f"{name} does not have its checksum"
        if path.stat().st_mtime_ns != mtime_ns:
            with suppress(OSError):  # a cache that only others may write to
                os.utime(path, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    return ""


def _sign(folder: Path) -> None:
    """Write the checksum and the time of every file of ``folder``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        entries = {
            str(path.relative_to(folder)): (checksum, path.stat().st_mtime_ns)
            for path, checksum in zip(paths, pool.map(_checksum, paths), strict=True)
        }
    save_checked(folder / CHECKSUMS, json.dumps(entries).encode())


def _checksum(path: Path) -> str:
    # Read, not mapped: a file that is cut meanwhile would end this process (SIGBUS).
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
