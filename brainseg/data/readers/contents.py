"""The content of files as a hash, kept on disk: only files whose size or times differ are read.

A file counts as read before while its size, its time of modification and its inode's time of change
(which no program can set back) stay the same. Its content does not depend on them: a copy, or a
file that was merely touched, has the hash of the original.

    <cache>/facts/contents-<digest of the root>.npy   a checksum, then a row for each file
"""

import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from brainseg.records.cache import default_cache, read_checked, save_checked

SETTLED_NS = 2 * 10**9  # file times may be as coarse as 2 s: a younger file could change unnoticed
ROWS = np.dtype([("name", "S32"), ("stamp", np.int64, 3), ("content", "S32")])

Stamp = tuple[int, int, int]  # size, time of modification, time of change


def contents(root: Path, names: Iterable[str]) -> dict[str, str]:
    """The XXH3 of each named file under ``root``, 32 hex digits; "" where it cannot be read.

    800 MB in 8000 files that were never read take about a second on a local disk, later 0.1 s. A
    cache that cannot be read or written costs time, nothing else.
    """
    kept = facts_path("contents", str(root.resolve()))
    rows = load_rows(kept, ROWS)
    known = dict(zip(rows["name"].tolist(), range(len(rows)), strict=True))
    stamps, hashes = rows["stamp"].tolist(), rows["content"].tolist()
    newest = time.time_ns() - SETTLED_NS
    found = dict.fromkeys(names, "")  # in the order of ``names``
    unread: list[str] = []
    for name in found:
        row = known.get(_key(name))
        if row is not None and tuple(stamps[row]) == _stamp(f"{root}/{name}"):
            found[name] = hashes[row].decode()
        else:
            unread.append(name)
    with ThreadPoolExecutor() as pool:
        for name, (stamp, content) in zip(
            unread, pool.map(lambda name: _read(f"{root}/{name}"), unread), strict=True
        ):
            found[name] = content
            if stamp and stamp[1] < newest:
                known[_key(name)] = len(stamps)
                stamps.append(stamp)
                hashes.append(content.encode())
    if len(stamps) > len(rows):
        order = list(known.values())
        fresh = np.zeros(len(known), ROWS)
        fresh["name"] = list(known)
        fresh["stamp"] = [stamps[row] for row in order]
        fresh["content"] = [hashes[row] for row in order]
        save_rows(kept, fresh)
    return found


def _read(path: str) -> tuple[Stamp | None, str]:
    """Stamp and hash of a file; no stamp if it changed meanwhile."""
    before = _stamp(path)
    if before is None:
        return None, ""
    try:
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    except OSError:
        return None, ""
    return (before if before == _stamp(path) else None), content


def _stamp(path: str) -> Stamp | None:
    """None where there is no file; a pipe or a device is none."""
    try:
        stat = os.stat(path)  # a third of the time of a Path
    except OSError:
        return None
    regular = S_ISREG(stat.st_mode)
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if regular else None


def _key(name: str) -> bytes:
    return digest(name).encode()


def digest(*parts: object) -> str:
    """32 hex digits of what ``parts`` show as."""
    return hashlib.blake2b(os.fsencode(repr(parts)), digest_size=16).hexdigest()


def facts_path(kind: str, *belongs_to: object) -> Path:
    return default_cache() / "facts" / f"{kind}-{digest(*belongs_to)}.npy"


def load_rows(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows on disk; none where the file is missing, damaged or of another version."""
    content = read_checked(path)
    if content is None:
        return np.zeros(0, dtype)
    rows: NDArray[Any] = np.load(BytesIO(content))
    return rows if rows.dtype == dtype and rows.ndim == 1 else np.zeros(0, dtype)


def save_rows(path: Path, rows: NDArray[Any]) -> None:
    """Replace the file; if two processes do, the rows of the later one stay."""
    content = BytesIO()
    np.save(content, rows)
    with suppress(OSError):
        save_checked(path, content.getvalue())
