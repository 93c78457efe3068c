"""Every slice decoded once per node into arrays on disk that all workers map.

Shapes: N slices of a pack, H rows, W columns, C channels (0 pre-contrast, 1 FLAIR, 2
post-contrast), 256 grey levels. A row is a position in the table that the pack was made from.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.patients import fingerprint, read_image, read_mask

FORMAT = 2  # raise it whenever the bytes of a pack change for the same input
ARRAYS = ("images", "masks", "histograms")
CHUNK = 64  # slices decoded before they are written: 50 MB at 512 pixels

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pack:
    """All slices of a table, mapped read-only from disk, so that workers share the pages."""

    images_NHWC: Pixels
    masks_NHW: Pixels  # 0 and 1
    histograms_NC256: NDArray[np.uint32]  # pixels of each grey level


def default_cache() -> Path:
    """$BRAINSEG_CACHE, else brainseg in the user's cache folder."""
    if chosen := os.environ.get("BRAINSEG_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainseg"


def open_pack(
    table: pd.DataFrame, root: Path, *, image_size: int, cache: Path | None = None
) -> Pack:
    """Map the pack of this table, built first where the cache (default_cache()) has none.

    Slices are padded to a centred square and resized to image_size pixels a side. Processes that
    start together build once, the others wait. ValueError: an image that is not 8-bit RGB, a mask
    that is not binary or not the size of its image, a cache that is full or cannot be written.
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}; try 128")
    if table.empty:
        raise ValueError("a pack must hold at least one slice, the table has none; check the root")
    inputs = f"{FORMAT} {image_size} {fingerprint(table, root)}"
    name = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    folder = (default_cache() if cache is None else cache) / "packs" / name
    if not os.path.isdir(folder):  # unlike Path.is_dir, False where the cache may not be read
        _build_once(folder, table, root, image_size)
    return Pack(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))


def _build_once(folder: Path, table: pd.DataFrame, root: Path, image_size: int) -> None:
    """Build unless another process did while this one waited for the lock."""
    num_bytes = len(table) * image_size**2 * 4  # three channels and the mask
    try:
        with _locked(folder.parent):
            if not folder.is_dir():
                _build(folder, table, root, image_size, num_bytes)
    except OSError as error:
        raise ValueError(
            f"the cache must be a writable folder with room for {num_bytes / 1e6:.1f} MB, "
            f"{folder.parent} is not ({error.strerror}); set BRAINSEG_CACHE to another"
        ) from error


def _build(folder: Path, table: pd.DataFrame, root: Path, image_size: int, num_bytes: int) -> None:
    """Write the pack beside its place and rename it: a folder of the final name is complete."""
    for interrupted in folder.parent.glob("*.building"):  # of dead processes: we hold the lock
        shutil.rmtree(interrupted)
    _refuse_full_disk(folder.parent, num_bytes)
    building = folder.with_suffix(".building")
    building.mkdir()
    try:
        _write(building, table, root, image_size)
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


def _write(folder: Path, table: pd.DataFrame, root: Path, image_size: int) -> None:
    """Append slices in the order of the table; a mapped page on a full disk would be a SIGBUS."""
    paths = [(root / i, root / m) for i, m in zip(table["image"], table["mask"], strict=True)]
    with (
        open(folder / "images.npy", "wb") as images,
        open(folder / "masks.npy", "wb") as masks,
        open(folder / "histograms.npy", "wb") as histograms,
        ThreadPoolExecutor() as pool,
    ):
        _write_header(images, "|u1", (len(paths), image_size, image_size, 3))
        _write_header(masks, "|u1", (len(paths), image_size, image_size))
        _write_header(histograms, "<u4", (len(paths), 3, 256))
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            slices = pool.map(lambda pair: _packed(pair[0], pair[1], image_size), chunk)
            for image_HWC, mask_HW in slices:
                images.write(image_HWC.tobytes())
                masks.write(mask_HW.tobytes())
                histograms.write(_histogram(image_HWC).tobytes())
        for file in (images, masks, histograms):
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def _write_header(file: BinaryIO, descr: str, shape: tuple[int, ...]) -> None:
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _histogram(image_HWC: Pixels) -> NDArray[np.uint32]:
    """Pixels of each grey level, shape (C, 256)."""
    channels = image_HWC.reshape(-1, image_HWC.shape[2]).T
    return np.stack([np.bincount(levels, minlength=256) for levels in channels]).astype("<u4")


def _packed(image: Path, mask: Path, image_size: int) -> tuple[Pixels, Pixels]:
    image_HWC, mask_HW = read_image(image), read_mask(mask)
    if image_HWC.shape[:2] != mask_HW.shape:
        raise ValueError(
            f"a mask must have the size of its image, {mask} is {_size(mask_HW)} and "
            f"{image.name} is {_size(image_HWC)}; export both at one size"
        )
    tumour_HW: NDArray[np.bool_] = _resized(mask_HW.astype(np.float32), image_size) > 0.5
    return _resized(image_HWC, image_size), tumour_HW.astype(np.uint8)


def _resized(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Pad with 0 to a centred square, then resize it to side."""
    height, width = pixels.shape[:2]
    square = max(height, width)
    top, left = (square - height) // 2, (square - width) // 2
    padding = [(top, square - height - top), (left, square - width - left), (0, 0)]
    padded = np.pad(pixels, padding[: pixels.ndim])
    method = cv2.INTER_AREA if side < square else cv2.INTER_LINEAR
    return cv2.resize(padded, (side, side), interpolation=method)


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"


def _sync(folder: Path) -> None:
    """Bring a folder's entries to disk; the data of a file does not include its name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_full_disk(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise ValueError(
            f"the cache must have room for {num_bytes / 1e6:.1f} MB, {folder} has "
            f"{free / 1e6:.1f} MB free; free some, or set BRAINSEG_CACHE to another disk"
        )
