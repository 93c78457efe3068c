"""Every slice decoded once per node into arrays that all workers map, and cut into batches.

Shapes: N slices of a pack, B of a batch, H rows, W columns, C channels (0 pre-contrast, 1 FLAIR,
2 post-contrast). A row is a position in the table that the pack was made from.
"""

# ruff: noqa: N815 - fields carry shape suffixes as well

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, BinaryIO, NamedTuple, Protocol

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainseg.patients import fingerprint, read_image, read_mask

FORMAT = 1  # raise it whenever the bytes of a pack change for the same input
CHUNK = 64  # slices decoded before they are written: 50 MB at 512 pixels
BATCHES_AHEAD = 2

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pack:
    """All slices of a table, mapped read-only from disk, so that workers share the pages."""

    images_NHWC: Pixels
    masks_NHW: Pixels  # 0 and 1


class Batch(NamedTuple):
    image_BCHW: Tensor  # uint8, channels last in memory
    mask_BHW: Tensor  # uint8, 0 and 1
    rows: Rows


class Augmentation(Protocol):
    def __call__(
        self, image_HWC: Pixels, mask_HW: Pixels, /, *, seed: int, epoch: int, sample: int
    ) -> tuple[Pixels, Pixels]: ...


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
    return Pack(
        np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "masks.npy", mmap_mode="r")
    )


def shuffled(rows: Rows, *, seed: int, epoch: int) -> Rows:
    """Return the order of one epoch, which depends on seed and epoch only."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full global batches in count images; one where they do not fill the first."""
    return max(1, count // batch_size)


def training_batches(
    pack: Pack,
    rows: Rows,
    augment: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
) -> Generator[Batch, None, None]:
    """Yield this rank's share of each global batch of batch_size images, prepared in a thread.

    What is left over at the end of the epoch is dropped; rows that do not fill one batch make one,
    cut to a multiple of world. ValueError, at once: batch_size no multiple of world, too few rows.
    """
    assert 0 <= rank < world, f"rank {rank} of {world}"
    _refuse_uneven(batch_size, len(rows), world)
    order = shuffled(rows, seed=seed, epoch=epoch)
    size = min(batch_size, len(order) // world * world)
    shares = [
        order[step * size : (step + 1) * size][rank::world]
        for step in range(steps_per_epoch(len(order), batch_size))
    ]
    return _ahead(_moved(pack, share, augment, seed, epoch) for share in shares)


def scoring_batches(
    pack: Pack, rows: Rows, *, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """Yield consecutive batches of rows, batch k to rank k % world: each row once over all ranks.

    Nothing is padded, dropped or regrouped, so a forward pass sees the same images for any world.
    """
    assert 0 <= rank < world and batch_size > 0, f"rank {rank} of {world}, batch {batch_size}"
    for start in range(rank * batch_size, len(rows), world * batch_size):
        share = rows[start : start + batch_size]
        yield _batch(pack.images_NHWC[share], pack.masks_NHW[share], share)


def _moved(pack: Pack, share: Rows, augment: Augmentation, seed: int, epoch: int) -> Batch:
    pairs = [
        augment(pack.images_NHWC[row], pack.masks_NHW[row], seed=seed, epoch=epoch, sample=int(row))
        for row in share
    ]
    images, masks = zip(*pairs, strict=True)
    return _batch(np.stack(images), np.stack(masks), share)


def _batch(image_BHWC: Pixels, mask_BHW: Pixels, rows: Rows) -> Batch:
    image_BCHW = torch.from_numpy(image_BHWC).permute(0, 3, 1, 2)
    return Batch(image_BCHW, torch.from_numpy(mask_BHW), rows)


def _ahead(source: Iterator[Batch]) -> Generator[Batch, None, None]:
    """Yield from source, which a thread keeps BATCHES_AHEAD ahead until the generator is closed."""
    ready: Queue[Batch | BaseException | None] = Queue()
    room, closed = threading.Semaphore(BATCHES_AHEAD), threading.Event()

    def prepare() -> None:
        try:
            while room.acquire() and not closed.is_set():
                ready.put(batch := next(source, None))
                if batch is None:
                    return
        except BaseException as error:  # the consumer raises it; lost here, it would wait for ever
            ready.put(error)

    thread = threading.Thread(target=prepare, name="brainseg-batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        closed.set()
        room.release()
        thread.join()


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
        ThreadPoolExecutor() as pool,
    ):
        _write_header(images, (len(paths), image_size, image_size, 3))
        _write_header(masks, (len(paths), image_size, image_size))
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            slices = pool.map(lambda pair: _packed(pair[0], pair[1], image_size), chunk)
            for image_HWC, mask_HW in slices:
                images.write(image_HWC.tobytes())
                masks.write(mask_HW.tobytes())
        for file in (images, masks):
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


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


def _refuse_uneven(batch_size: int, count: int, world: int) -> None:
    if batch_size < 1 or batch_size % world:
        nearest = max(1, round(batch_size / world)) * world
        raise ValueError(
            f"batch_size must be a multiple of the {world} workers, got {batch_size}; try {nearest}"
        )
    if count < world:
        raise ValueError(
            f"each worker must get an image, {count} images are fewer than {world} workers; "
            "take fewer workers"
        )
