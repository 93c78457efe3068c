"""The pack: every slice, decoded once per node into arrays on disk that all workers map.

Shapes: N slices of a pack, H rows, W columns, C channels, D = C + 1 (the channels of an image and,
last, its mask), 256 grey levels. A row is a position in the table that the pack was made from.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.checksums import ensure_whole
from brainseg.data.fingerprint import fingerprint
from brainseg.data.pack.build import Pixels, write_arrays
from brainseg.process import Log
from brainseg.records.cache import default_cache

FORMAT = 4  # raise it whenever the bytes of a pack change for the same input
ARRAYS = ("slices", "histograms")


@dataclass(frozen=True)
class Pack:
    """All slices of a table, mapped read-only from disk: workers share the memory pages."""

    slices_NHWD: Pixels  # image and mask together, so that one warp moves both
    histograms_NC256: NDArray[np.uint32]  # pixels of each grey level

    @property
    def images_NHWC(self) -> Pixels:
        return self.slices_NHWD[..., :-1]

    @property
    def masks_NHW(self) -> Pixels:
        """0 and 1."""
        return self.slices_NHWD[..., -1]


def open_pack(
    table: pd.DataFrame,
    root: Path | Callable[[], Path],
    *,
    image_size: int,
    channels: int = 3,
    recorded: str = "",
    cache: Path | None = None,
    log: Log = print,
) -> Pack:
    """Map the pack of this table; build it first if the cache has none, or a damaged one.

    Slices are mapped to 8 bits, padded to a centred square and resized to image_size pixels a side.
    Of processes that start together one builds, the others wait.

    Args:
        root: the folder of the files, or what returns it; called only if files must be read.
        recorded: fingerprint of the files when a run started. Its trials pass it, so that all read
            the same pack and no file is looked at (0.5 ms). If the pack must be built, changed
            files are refused.
        cache: its folder; default: default_cache().

    Raises:
        ValueError: an image that cannot be read or has other than the declared channels, a mask
            that is not binary or has another size, a cache that is full or cannot be written.
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}; try 128")
    if table.empty:
        raise ValueError("a pack must hold at least one slice, the table has none; check the root")
    files = root if callable(root) else lambda: root
    inputs = f"{FORMAT} {image_size} {channels} {recorded or fingerprint(table, files())}"
    name = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    folder = (default_cache() if cache is None else cache) / "packs" / name
    shape = (image_size, image_size, channels + 1)

    def fill(draft: Path) -> None:
        folder_of_files = files()
        _refuse_changed(table, folder_of_files, recorded)
        write_arrays(draft, table, folder_of_files, shape)

    ensure_whole(
        folder,
        fill,
        num_bytes=len(table) * math.prod(shape),
        lock=".lock",  # packs are built one after the other: each takes all cores
        log=log,
    )
    return Pack(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))


def _refuse_changed(table: pd.DataFrame, root: Path, recorded: str) -> None:
    if recorded and recorded != fingerprint(table, root, like=recorded):
        raise ValueError(
            f"files must not change during a run, some under {root} have changed since it started "
            "(the sweep's command, run again, names them); restore them, or start a run with "
            "another --name"
        )
