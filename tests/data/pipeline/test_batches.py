"""Each epoch's batches are the same for any number of workers and threads."""

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from brainseg.data.pack.store import Pack, Pixels
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batch import Batch
from brainseg.data.pipeline.batches import (
    scoring_batches,
    shuffled,
    steps_per_epoch,
    training_batches,
)
from tests.support.packs import packed, write_folder

STILL = Augment(rotate_degrees=0, shift=0, zoom=0, hflip=0, vflip=0)
STRONG = Augment(rotate_degrees=30, shift=0.1, zoom=0.2, hflip=0.5, vflip=0.5)


def pack_of(count: int) -> Pack:
    """A pack in memory whose images are noise, no two alike."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, 16, 16, 3), np.uint8)
    masks = (images[..., :1] > 200).astype(np.uint8)
    return Pack(np.concatenate([images, masks], axis=3), np.zeros((count, 3, 256), np.uint32))


def threads_of_batches() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("brainseg-batches")]


def kept(batches: Iterable[Batch]) -> list[Batch]:
    """Every batch, as it was when it was the one to use: its memory is used again."""
    return [batch._replace(slices_BHWD=batch.slices_BHWD.clone()) for batch in batches]


# Training batches


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_only() -> None:
    rows = np.arange(50)
    first = shuffled(rows, seed=1, epoch=0)
    assert np.array_equal(first, shuffled(rows, seed=1, epoch=0))
    assert not np.array_equal(first, shuffled(rows, seed=1, epoch=1))
    assert not np.array_equal(first, shuffled(rows, seed=2, epoch=0))
    assert sorted(first) == rows.tolist()


@pytest.mark.parametrize(
    ("count", "batch_size", "steps"), [(10, 5, 2), (11, 5, 2), (14, 5, 2), (3, 5, 1)]
)
def test_an_epoch_has_the_steps_that_it_says(count: int, batch_size: int, steps: int) -> None:
    batches = list(
        training_batches(
            pack_of(count), np.arange(count), STILL, batch_size=batch_size, seed=0, epoch=0
        )
    )
    assert steps_per_epoch(count, batch_size) == len(batches) == steps
    assert [len(batch.rows) for batch in batches] == [min(batch_size, count)] * steps


def test_a_batch_is_bytes_with_channels_last_and_the_rows_it_names() -> None:
    pack, rows = pack_of(9), np.array([8, 2, 5, 1])
    for batch in training_batches(pack, rows, STILL, batch_size=2, seed=0, epoch=0):
        assert batch.image_BCHW.shape == (2, 3, 16, 16)
        assert batch.image_BCHW.float().is_contiguous(memory_format=torch.channels_last)
        assert batch.image_BCHW.dtype == batch.mask_BHW.dtype == torch.uint8
        images_BHWC = batch.image_BCHW.permute(0, 2, 3, 1).numpy()
        assert np.array_equal(images_BHWC, pack.images_NHWC[batch.rows])
        assert np.array_equal(batch.mask_BHW.numpy(), pack.masks_NHW[batch.rows])
        assert set(batch.rows) <= set(rows)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("count", [50, 23, 7])  # 7 do not fill a batch: cut to 6
def test_workers_together_train_on_the_batches_of_one(world: int, count: int) -> None:
    pack, rows = pack_of(count), np.arange(count)

    def epoch(rank: int, world: int) -> Iterator[Batch]:
        return training_batches(
            pack, rows, STRONG, batch_size=12, seed=5, epoch=2, rank=rank, world=world
        )

    epochs = [epoch(0, 1), *(epoch(rank, world) for rank in range(world))]
    for whole, *shares in zip(*epochs, strict=True):
        size = len(whole.rows) // world * world
        for rank, share in enumerate(shares):
            assert np.array_equal(share.rows, whole.rows[rank:size:world])
            assert torch.equal(share.image_BCHW, whole.image_BCHW[rank:size:world])
            assert torch.equal(share.mask_BHW, whole.mask_BHW[rank:size:world])


def test_an_epoch_shows_each_row_at_most_once_and_another_epoch_moves_it_otherwise() -> None:
    pack, rows = pack_of(8), np.arange(8)
    images = {}
    for epoch in (0, 1):
        batches = kept(training_batches(pack, rows, STRONG, batch_size=4, seed=0, epoch=epoch))
        shown = list(chain.from_iterable(batch.rows.tolist() for batch in batches))
        assert sorted(shown) == rows.tolist()
        image_NCHW = torch.cat([batch.image_BCHW for batch in batches])
        images[epoch] = image_NCHW[np.argsort(shown)]
    assert all(not torch.equal(a, b) for a, b in zip(images[0], images[1], strict=True))


def test_a_batch_that_the_workers_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        training_batches(pack_of(9), np.arange(9), STILL, batch_size=8, seed=0, epoch=0, world=3)
    assert str(error.value) == (
        "batch_size must be a multiple of the 3 workers, got 8; try 9, or another number of "
        "--workers"
    )


def test_fewer_images_than_workers_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        training_batches(pack_of(2), np.arange(2), STILL, batch_size=3, seed=0, epoch=0, world=3)
    assert str(error.value) == (
        "each worker must get an image, 2 images are fewer than 3 workers; use fewer workers"
    )


@pytest.mark.parametrize("batch_size", [1, 4, 40])
def test_any_number_of_threads_prepares_the_same_batches_in_the_same_order(
    batch_size: int,
) -> None:
    pack, rows = pack_of(40), np.arange(40)

    def slow_at_times(
        slice_HWD: Pixels, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int
    ) -> None:
        time.sleep(0.002 * (sample % 3))
        STRONG(slice_HWD, moved_HWD, seed=seed, epoch=epoch, sample=sample)

    def epoch(threads: int) -> list[Batch]:
        return kept(
            training_batches(
                pack, rows, slow_at_times, batch_size=batch_size, seed=3, epoch=1, threads=threads
            )
        )

    alone = epoch(threads=1)
    assert len(alone) == 40 // batch_size
    for threads in (2, 5):
        for expected, batch in zip(alone, epoch(threads), strict=True):
            assert np.array_equal(expected.rows, batch.rows)
            assert torch.equal(expected.slices_BHWD, batch.slices_BHWD)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_holds_until_the_next_is_asked_for_and_memory_is_used_again(threads: int) -> None:
    pack, addresses = pack_of(40), []
    for batch in training_batches(
        pack, np.arange(40), STILL, batch_size=1, seed=0, epoch=0, threads=threads
    ):
        time.sleep(0.002)  # whatever the threads fill meanwhile
        assert np.array_equal(batch.slices_BHWD.numpy(), pack.slices_NHWD[batch.rows])
        addresses.append(batch.slices_BHWD.data_ptr())
    assert len(set(addresses)) == threads + 2


def test_the_threads_end_when_the_epoch_does() -> None:
    assert list(
        training_batches(pack_of(9), np.arange(9), STILL, batch_size=2, seed=0, epoch=0, threads=2)
    )
    assert not threads_of_batches()


def test_the_threads_end_when_the_consumer_stops_early() -> None:
    batches = training_batches(
        pack_of(9), np.arange(9), STILL, batch_size=1, seed=0, epoch=0, threads=2
    )
    next(batches)
    assert threads_of_batches()
    batches.close()
    assert not threads_of_batches()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_stay_a_few_batches_ahead_and_no_more(threads: int) -> None:
    asked: list[int] = []

    def noted(slice_HWD: Pixels, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int) -> None:
        asked.append(sample)

    batches = training_batches(
        pack_of(9), np.arange(9), noted, batch_size=1, seed=0, epoch=0, threads=threads
    )
    next(batches)
    time.sleep(0.2)
    batches.close()
    assert len(asked) == 2 + threads  # the one taken, one that waits, one of each thread


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_while_preparing_reaches_the_consumer_at_its_batch(threads: int) -> None:
    pack, rows = pack_of(10), np.arange(10)
    bad = shuffled(rows, seed=0, epoch=0)[4]

    def broken(slice_HWD: Pixels, moved_HWD: Pixels, *, seed: int, epoch: int, sample: int) -> None:
        if sample == bad:
            raise ArithmeticError(f"slice {sample}")

    batches = training_batches(pack, rows, broken, batch_size=1, seed=0, epoch=0, threads=threads)
    for _ in range(4):
        next(batches)
    with pytest.raises(ArithmeticError, match=f"slice {bad}"):
        next(batches)
    assert not threads_of_batches()


# Scoring batches


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 23])
def test_every_slice_is_scored_once_in_the_same_batches_for_any_number_of_workers(
    world: int, count: int
) -> None:
    pack, rows = pack_of(30), np.arange(30)[::-1][:count]
    per_rank = [
        kept(scoring_batches(pack, rows, batch_size=4, rank=rank, world=world))
        for rank in range(world)
    ]
    together = {tuple(batch.rows): batch for batches in per_rank for batch in batches}
    alone = kept(scoring_batches(pack, rows, batch_size=4))
    assert sum(map(len, per_rank)) == len(together) == len(alone)
    assert np.array_equal(np.concatenate([batch.rows for batch in alone]), rows)
    for batch in alone:
        assert torch.equal(together[tuple(batch.rows)].image_BCHW, batch.image_BCHW)
        assert torch.equal(together[tuple(batch.rows)].mask_BHW, batch.mask_BHW)
        assert np.array_equal(batch.slices_BHWD.numpy(), pack.slices_NHWD[batch.rows])


def test_scoring_reads_the_next_batch_meanwhile_and_ends_its_thread_with_the_batches() -> None:
    batches = scoring_batches(pack_of(30), np.arange(30), batch_size=4)
    next(batches)
    assert threads_of_batches()
    batches.close()
    assert not threads_of_batches()


def test_a_batch_to_score_holds_until_the_next_and_memory_is_used_again() -> None:
    pack, addresses = pack_of(40), []
    for batch in scoring_batches(pack, np.arange(40), batch_size=3):
        time.sleep(0.002)  # whatever the thread copies meanwhile
        assert np.array_equal(batch.slices_BHWD.numpy(), pack.slices_NHWD[batch.rows])
        addresses.append(batch.slices_BHWD.data_ptr())
    assert len(addresses) == 14 and len(set(addresses)) == 3


def test_scoring_takes_batches_straight_from_a_mapped_pack(tmp_path: Path) -> None:
    pack = packed(write_folder(tmp_path / "root", 3), tmp_path / "cache")
    (batch,) = scoring_batches(pack, np.arange(3), batch_size=8)
    assert batch.image_BCHW[:, :, 3, 3].tolist() == [[n, 100, 200] for n in (1, 2, 3)]
    assert batch.image_BCHW.float().is_contiguous(memory_format=torch.channels_last)


def test_training_takes_batches_straight_from_a_mapped_pack(tmp_path: Path) -> None:
    pack = packed(write_folder(tmp_path / "root", 4), tmp_path / "cache")
    for augment in (STILL, STRONG):
        (batch,) = training_batches(pack, np.arange(4), augment, batch_size=4, seed=0, epoch=0)
        assert batch.mask_BHW.sum() > 0
