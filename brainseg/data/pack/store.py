"""Every slice decoded once per node into arrays on disk that all workers map.

Shapes: N slices of a pack, H rows, W columns, C channels, D = C + 1 (the channels of an image and,
last, its mask), 256 grey levels. A row is a position in the table that the pack was made from.
"""

import fcntl
import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.build import Pixels, Shape, write_arrays
from brainseg.data.table import fingerprint
from brainseg.records.cache import default_cache

FORMAT = 3  # raise it whenever the bytes of a pack change for the same input
ARRAYS = ("slices", "histograms")


@dataclass(frozen=True)
class Pack:
    """All slices of a table, mapped read-only from disk, so that workers share the pages."""

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
    root: Path,
    *,
    image_size: int,
    channels: int = 3,
    recorded: str = "",
    cache: Path | None = None,
) -> Pack:
    """Map the pack of this table, built first where the cache (default_cache()) has none.

    ``recorded`` is the fingerprint that a run took of the files when it began, for its trials:
    they all read what it began with, and look at no file (0.5 ms; a fingerprint of 3929 slices
    takes 40 ms) unless the pack must be built, which is refused if the files have changed.

    Slices are mapped to 8 bits, padded to a centred square and resized to image_size pixels a side.
    Processes that start together build once, the others wait. ValueError: an image that cannot be
    read or has not the channels asked for, a mask that is not binary or not the size of its image,
    a cache that is full or cannot be written.
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}; try 128")
    if table.empty:
        raise ValueError("a pack must hold at least one slice, the table has none; check the root")
    inputs = f"{FORMAT} {image_size} {channels} {recorded or fingerprint(table, root)}"
    name = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    folder = (default_cache() if cache is None else cache) / "packs" / name
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where the cache may not be read
        _refuse_changed(table, root, recorded)
        _build_once(folder, table, root, (image_size, image_size, channels + 1))
    return Pack(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))


def _build_once(folder: Path, table: pd.DataFrame, root: Path, shape: Shape) -> None:
    """Build unless another process did while this one waited for the lock."""
    num_bytes = len(table) * math.prod(shape)
    try:
        with _locked(folder.parent):
            if not folder.is_dir():
                _build(folder, table, root, shape, num_bytes)
    except OSError as error:
        raise ValueError(
            f"the cache must be a writable folder with room for {num_bytes / 1e6:.1f} MB, "
            f"{folder.parent} is not ({error.strerror}); set BRAINSEG_CACHE to another"
        ) from error


def _build(folder: Path, table: pd.DataFrame, root: Path, shape: Shape, num_bytes: int) -> None:
    """Write the pack beside its place and rename it: a folder of the final name is complete."""
    for interrupted in folder.parent.glob("*.building"):  # of dead processes: we hold the lock
        shutil.rmtree(interrupted)
    _refuse_full_disk(folder.parent, num_bytes)
    building = folder.with_suffix(".building")
    building.mkdir()
    try:
        write_arrays(building, table, root, shape)
        _sync(building)
        os.rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _sync(folder.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the one lock of the cache; the kernel frees it when the holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(folder: Path) -> None:
    """Bring a folder's entries to disk; the data of a file does not include its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_changed(table: pd.DataFrame, root: Path, recorded: str) -> None:
    if recorded and recorded != fingerprint(table, root):
        raise ValueError(
            f"files must stay as they were when the run began, some under {root} have changed; "
            "restore them, or begin a run of another name"
        )


def _refuse_full_disk(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"the cache must have room for {num_bytes / 1e6:.1f} MB, {folder} has "
            f"{free / 1e6:.1f} MB free; free some, or set BRAINSEG_CACHE to another disk"
        )
