"""A pack cut into batches: shuffled and augmented to train on, in fixed order to score.

Shapes: N slices of a pack, B of a batch, H rows, W columns, C channels. A row is a position in
the table that the pack was made from.
"""

import threading
from collections.abc import Generator, Iterator
from queue import Queue
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainseg.pack import Pack, Pixels

BATCHES_AHEAD = 2

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    image_BCHW: Tensor  # uint8, channels last in memory
    mask_BHW: Tensor  # uint8, 0 and 1
    rows: Rows


class Augmentation(Protocol):
    def __call__(
        self, image_HWC: Pixels, mask_HW: Pixels, /, *, seed: int, epoch: int, sample: int
    ) -> tuple[Pixels, Pixels]: ...


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
