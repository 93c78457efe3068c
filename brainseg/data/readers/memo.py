"""Values computed from the pixels of slices, kept on disk until their files change.

A file counts as unchanged while its size, its time of modification and its inode's time of change
(which no program can set back) stay the same. So a folder that was read once is not decoded again.

    <cache>/facts/<kind>-<digest of the root>.npy   a checksum, then an array: a row for each slice
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainseg.data.readers.paths import JOINT
from brainseg.records.cache import default_cache
from brainseg.records.checked import read_checked, save_checked

FORMAT = 2  # raise it whenever the same files give other values
SETTLED_NS = 2 * 10**9  # file times may be as coarse as 2 s: a younger file could change unnoticed

Place = tuple[str, int, int]  # files of a slice, joined by "|"; index and axis of its cut


def memoised(
    kind: str,
    root: Path,
    places: Sequence[Place],
    compute: Callable[[Place], Any],
    dtype: DTypeLike,
) -> NDArray[Any]:
    """Return ``compute(place)`` for each place, computed only where the cache does not hold it.

    Places of one file that follow each other are computed by one thread, so that a volume is read
    once. A cache that cannot be read or written costs time, nothing else.

    Raises:
        Whatever ``compute`` raises.
    """
    path = default_cache() / "facts" / f"{kind}-{_digest(FORMAT, str(root.resolve()))}.npy"
    rows = np.zeros(len(places), [("key", "S32"), ("value", dtype)])
    rows["key"] = _keys(root, places)
    known = _load(path, rows.dtype)
    position = {key: row for row, key in enumerate(known["key"].tolist())}
    old = [row for row, key in enumerate(rows["key"].tolist()) if key and key in position]
    rows["value"][old] = known["value"][[position[key] for key in rows["key"][old].tolist()]]
    missing = sorted(set(range(len(places))) - set(old))
    by_file = [list(slices) for _, slices in groupby(missing, key=lambda row: places[row][0])]
    with ThreadPoolExecutor() as pool:
        computed = pool.map(lambda file: [compute(places[row]) for row in file], by_file)
        for file, values in zip(by_file, computed, strict=True):
            rows["value"][file] = values
    if missing:
        _save(path, rows)
    return rows["value"]


def _keys(root: Path, places: Sequence[Place]) -> list[str]:
    """Digests of what each place's value depends on; "" if a file is missing or too young."""
    files = dict.fromkeys(name for joined, _, _ in places for name in joined.split(JOINT))
    newest = time.time_ns() - SETTLED_NS
    stamps = {name: _stamp(f"{root}/{name}", newest) for name in files}
    keys = []
    for place in places:
        depends_on = [stamps[name] for name in place[0].split(JOINT)]
        keys.append(_digest(place, depends_on) if all(depends_on) else "")
    return keys


def _stamp(path: str, newest: int) -> tuple[int, ...]:
    """Size and times of a file; () if it is missing, or was modified after ``newest``."""
    try:
        stat = os.stat(path)
    except OSError:
        return ()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if stat.st_mtime_ns < newest else ()


def _digest(*parts: object) -> str:
    return hashlib.blake2b(os.fsencode(repr(parts)), digest_size=16).hexdigest()


def _load(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows on disk; none where the file is missing, damaged or of another version."""
    content = read_checked(path)
    if content is None:
        return np.zeros(0, dtype)
    rows: NDArray[Any] = np.load(BytesIO(content))
    return rows if rows.dtype == dtype and rows.ndim == 1 else np.zeros(0, dtype)


def _save(path: Path, rows: NDArray[Any]) -> None:
    """Replace the file; if two processes do, the rows of the later one stay."""
    content = BytesIO()
    np.save(content, rows)
    with suppress(OSError):
        save_checked(path, content.getvalue())
