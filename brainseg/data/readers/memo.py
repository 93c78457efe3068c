"""Values computed from the pixels of slices, kept on disk until their files change.

A file is known by its content (see ``contents``). So a folder that was read once is not decoded
again, also if its files were touched or unpacked anew.

    <cache>/facts/<kind>-<digest of the root>.npy   a checksum, then an array: a row for each slice
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from brainseg.data.readers.contents import contents, digest, facts_path, load_rows, save_rows
from brainseg.data.readers.decode import DECODERS
from brainseg.data.readers.paths import JOINT

FORMAT = 4  # raise it whenever the same files give other values

Place = tuple[Any, ...]  # files of a slice, joined by "|"; its cut, as table.CUT


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
    path = facts_path(kind, FORMAT, str(root.resolve()))
    rows = np.zeros(len(places), [("key", "S32"), ("value", dtype)])
    rows["key"] = _keys(root, places)
    known = load_rows(path, rows.dtype)
    position = {key: row for row, key in enumerate(known["key"].tolist())}
    old = [row for row, key in enumerate(rows["key"].tolist()) if key and key in position]
    rows["value"][old] = known["value"][[position[key] for key in rows["key"][old].tolist()]]
    missing = sorted(set(range(len(places))) - set(old))
    by_file = [list(slices) for _, slices in groupby(missing, key=lambda row: places[row][0])]
    with ThreadPoolExecutor(DECODERS) as pool:
        computed = pool.map(lambda file: [compute(places[row]) for row in file], by_file)
        for file, values in zip(by_file, computed, strict=True):
            rows["value"][file] = values
    if missing:
        save_rows(path, rows)
    return rows["value"]


def _keys(root: Path, places: Sequence[Place]) -> list[str]:
    """Digests of what each place's value depends on; "" if a file cannot be read."""
    known = contents(root, (name for joined, *_ in places for name in joined.split(JOINT)))
    keys = []
    for place in places:
        depends_on = [known[name] for name in place[0].split(JOINT)]
        keys.append(digest(place, depends_on) if all(depends_on) else "")
    return keys
