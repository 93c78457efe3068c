"""Batches of a pack: shuffled and augmented for training, in fixed order for validation.

Shapes: N slices of a pack, B of a batch, H rows, W columns, C channels, D = C + 1 (the channels of
an image and, last, its mask). A row is a position in the table that the pack was made from.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from brainseg.data.pack.build import Pixels
from brainseg.data.pack.store import Pack
from brainseg.data.pipeline.batch import Batch, Rows
from brainseg.data.readers.images import single_threaded

BATCHES_AHEAD = 1  # ready; one more is in use, and each thread prepares one


class SliceTransform(Protocol):
    def __call__(
        self, slice_HWD: Pixels, moved_HWD: Pixels, /, *, seed: int, epoch: int, sample: int
    ) -> None: ...


def shuffled(rows: Rows, *, seed: int, epoch: int) -> Rows:
    """Return the order of one epoch, which depends only on seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full global batches in count images, at least one."""
    return max(1, count // batch_size)


def training_batches(
    pack: Pack,
    rows: Rows,
    augment: SliceTransform,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    threads: int = 1,
) -> Generator[Batch, None, None]:
    """Yield this rank's share of each global batch of batch_size images, prepared in threads.

    A batch is valid until the next one is requested: then its memory is reused. An incomplete last
    batch is dropped; if there is no full one, the rows make one, cut to a multiple of world.

    Raises:
        ValueError: batch_size is not a multiple of world, or there are too few rows. Raised at
            the call, not at the first batch.
    """
    assert 0 <= rank < world, f"rank {rank} of {world}"
    _require_even(batch_size, len(rows), world)
    order = shuffled(rows, seed=seed, epoch=epoch)
    size = min(batch_size, len(order) // world * world)
    shares = [
        order[step * size : (step + 1) * size][rank::world]
        for step in range(steps_per_epoch(len(order), batch_size))
    ]
    slices_NHWD = np.asarray(pack.slices_NHWD)  # a memmap's own indexing is slow

    def fill(moved_BHWD: Pixels, share: Rows) -> None:
        for moved_HWD, row in zip(moved_BHWD, share.tolist(), strict=True):
            augment(slices_NHWD[row], moved_HWD, seed=seed, epoch=epoch, sample=row)

    return _ring(shares, fill, slices_NHWD.shape[1:], threads)


def scoring_batches(
    pack: Pack, rows: Rows, *, batch_size: int, rank: int = 0, world: int = 1
) -> Generator[Batch, None, None]:
    """Yield consecutive batches of rows, batch k to rank k % world: each row on one rank, once.

    Nothing is padded, dropped or regrouped, so the batches are the same for any world. A batch is
    valid until the next one is requested; a thread reads that one meanwhile.
    """
    assert 0 <= rank < world and batch_size > 0, f"rank {rank} of {world}, batch {batch_size}"
    starts = range(rank * batch_size, len(rows), world * batch_size)
    slices_NHWD = np.asarray(pack.slices_NHWD)

    def fill(read_BHWD: Pixels, share: Rows) -> None:
        # With mode="raise" it would make a copy in between.
        np.take(slices_NHWD, share, axis=0, out=read_BHWD, mode="clip")

    shares = [rows[start : start + batch_size] for start in starts]
    return _ring(shares, fill, slices_NHWD.shape[1:], threads=1)


class _Slot:
    """Memory of one batch, which is reused."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._on_gpu = torch.cuda.is_available()
        self.slices_BHWD = torch.empty(shape, dtype=torch.uint8, pin_memory=self._on_gpu)
        self._copied: torch.cuda.Event | None = None

    def release(self) -> None:
        """The consumer is done; copies to the GPU may still be running."""
        if self._on_gpu:
            self._copied = torch.cuda.current_stream().record_event()

    def memory(self) -> Pixels:
        """The memory, once no copy reads it."""
        if self._copied:
            self._copied.synchronize()
        return self.slices_BHWD.numpy()


def _ring(
    shares: list[Rows], fill: Callable[[Pixels, Rows], None], shape: tuple[int, ...], threads: int
) -> Generator[Batch, None, None]:
    """Yield the shares in order; threads fill them, each in one of a few reused slots.

    An error in a thread is raised at its batch. Closing early waits for threads that are filling.
    """
    waiting, size = iter(shares), max(map(len, shares), default=0)
    count = min(len(shares), 1 + threads + BATCHES_AHEAD)
    slots = [_Slot((size, *shape)) for _ in range(count)]
    under_way: deque[tuple[_Slot, Rows, Future[None]]] = deque()

    def start_filling(slot: _Slot) -> None:
        if (share := next(waiting, None)) is not None:
            done = pool.submit(lambda: fill(slot.memory()[: len(share)], share))
            under_way.append((slot, share, done))

    pool = ThreadPoolExecutor(threads, "brainseg-batches")
    with single_threaded():
        try:
            for slot in slots:
                start_filling(slot)
            while under_way:
                slot, share, done = under_way.popleft()
                done.result()
                yield Batch(slot.slices_BHWD[: len(share)], share)
                slot.release()
                start_filling(slot)
        finally:
            pool.shutdown(cancel_futures=True)


def require_divisible(batch_size: int, workers: int) -> None:
    """Refuse a batch that does not divide evenly among the workers of a trial."""
    if batch_size < 1 or batch_size % workers:
        nearest = max(1, round(batch_size / workers)) * workers
        raise ValueError(
            f"batch_size must be a multiple of the {workers} workers, got {batch_size}; try "
            f"{nearest}, or another number of --workers"
        )


def _require_even(batch_size: int, count: int, world: int) -> None:
    require_divisible(batch_size, world)
    if count < world:
        raise ValueError(
            f"each worker must get an image, {count} images are fewer than {world} workers; "
            "use fewer workers"
        )
