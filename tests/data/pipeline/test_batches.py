"""A pack is built once and whole; each epoch's batches are the same for any number of workers."""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import Pack, Pixels, open_pack
from brainseg.data.pipeline.augment import Augment
from brainseg.data.pipeline.batches import (
    Batch,
    scoring_batches,
    shuffled,
    steps_per_epoch,
    training_batches,
)
from brainseg.data.readers.images import read_image
from brainseg.data.table import fingerprint
from brainseg.records.cache import default_cache

STILL = Augment(rotate_degrees=0, shift=0, zoom=0, hflip=0, vflip=0)
STRONG = Augment(rotate_degrees=30, shift=0.1, zoom=0.2, hflip=0.5, vflip=0.5)


def write_folder(root: Path, count: int, height: int = 16, width: int = 16) -> Path:
    """`count` slices of one patient; slice n has the colour (n, 100, 200) and a tumour."""
    (root / "p").mkdir(parents=True, exist_ok=True)
    for n in range(1, count + 1):
        mask_HW = np.zeros((height, width), np.uint8)
        mask_HW[height // 4 : height // 2, width // 4 : width // 2] = 255
        image_HWC = np.full((height, width, 3), (200, 100, n), np.uint8)  # OpenCV: blue first
        cv2.imwrite(str(root / "p" / f"p_{n}.tif"), image_HWC)
        cv2.imwrite(str(root / "p" / f"p_{n}_mask.tif"), mask_HW)
    return root


def packed(root: Path, cache: Path, image_size: int = 16) -> Pack:
    return open_pack(find_slices(root), root, image_size=image_size, cache=cache)


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


# The pack


def test_a_pack_holds_the_slices_in_the_order_of_the_table_and_the_channels_of_the_file(
    tmp_path: Path,
) -> None:
    pack = packed(write_folder(tmp_path / "root", 12), tmp_path / "cache")
    assert pack.images_NHWC.shape == (12, 16, 16, 3)
    assert pack.images_NHWC[:, 3, 3].tolist() == [[n, 100, 200] for n in range(1, 13)]
    assert pack.masks_NHW.sum(axis=(1, 2)).tolist() == [16] * 12
    assert set(np.unique(pack.masks_NHW)) == {0, 1}


def test_a_pack_is_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    pack = packed(write_folder(tmp_path / "root", 1), tmp_path / "cache")
    assert isinstance(pack.images_NHWC, np.memmap)
    for array in (pack.images_NHWC, pack.masks_NHW):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_an_oblong_slice_is_centred_in_a_square_of_any_size(
    tmp_path: Path, image_size: int
) -> None:
    root = write_folder(tmp_path / "root", 1, height=16, width=8)
    pack = packed(root, tmp_path / "cache", image_size)
    quarter, half = image_size // 4, image_size // 2
    image_HWC, mask_HW = pack.images_NHWC[0], pack.masks_NHW[0]
    assert image_HWC.shape == (image_size, image_size, 3)
    assert image_HWC[half, 0].tolist() == image_HWC[half, -1].tolist() == [0, 0, 0]
    assert image_HWC[half, half].tolist() == [1, 100, 200]
    rows, columns = np.nonzero(mask_HW)
    assert (rows.min(), rows.max()) == (quarter, half - 1)
    assert (columns.min(), columns.max()) == (quarter + image_size // 8, half - 1)


def test_a_second_open_takes_the_same_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 3)
    packed(root, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "packs").glob("[!.]*")
    before = folder.stat().st_ino, folder.stat().st_mtime_ns
    packed(root, tmp_path / "cache")
    assert (folder.stat().st_ino, folder.stat().st_mtime_ns) == before


def test_another_size_or_a_changed_file_makes_another_pack(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 3)
    packed(root, tmp_path / "cache")
    packed(root, tmp_path / "cache", image_size=8)
    os.utime(root / "p" / "p_2.tif", ns=(1, 1))
    packed(root, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "packs").glob("[!.]*"))) == 3


def test_a_recorded_fingerprint_opens_what_the_run_began_with_and_builds_nothing_else(
    tmp_path: Path,
) -> None:
    root, cache = write_folder(tmp_path / "root", 3), tmp_path / "cache"
    table = find_slices(root)
    recorded = fingerprint(table, root)
    built = open_pack(table, root, image_size=16, recorded=recorded, cache=cache)
    os.utime(root / "p" / "p_2.tif", ns=(1, 1))
    again = open_pack(table, root, image_size=16, recorded=recorded, cache=cache)
    assert np.array_equal(again.slices_NHWD, built.slices_NHWD)
    assert len(list((cache / "packs").glob("[!.]*"))) == 1
    with pytest.raises(ValueError) as error:
        open_pack(table, root, image_size=8, recorded=recorded, cache=cache)
    assert str(error.value) == (
        f"files must stay as they were when the run began, some under {root} have changed; "
        "restore them, or begin a run of another name"
    )


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("BRAINSEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == Path("/home/someone/.cache/brainseg")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert default_cache() == Path("/fast/brainseg")
    monkeypatch.setenv("BRAINSEG_CACHE", "/faster/packs")
    assert default_cache() == Path("/faster/packs")


def build_and_count(
    root: Path, cache: Path, start: Barrier, counts: SimpleQueue[tuple[int, int]]
) -> None:
    """Report how often this process renamed a folder into place."""
    renames: list[object] = []
    sys.addaudithook(lambda event, args: renames.append(args) if event == "os.rename" else None)
    table = find_slices(root)
    start.wait(timeout=120)
    pack = open_pack(table, root, image_size=16, cache=cache)
    counts.put((len(renames), int(pack.images_NHWC[:, 0, 0, 0].sum())))


def test_two_processes_that_start_together_build_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 100)
    spawn = multiprocessing.get_context("spawn")
    start, counts = spawn.Barrier(2), spawn.SimpleQueue()
    arguments = (root, tmp_path / "cache", start, counts)
    processes = [spawn.Process(target=build_and_count, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    seen = [counts.get() for _ in processes]
    assert sorted(builds for builds, _ in seen) == [0, 1]
    assert {total for _, total in seen} == {sum(range(1, 101))}


def build_and_die(root: Path, cache: Path) -> None:
    """Kill this process when all is written and only the rename is missing."""

    def die(event: str, _: object) -> None:
        if event == "os.rename":
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    packed(root, cache)


def test_a_build_that_was_killed_is_cleaned_up_and_done_again(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 3)
    process = multiprocessing.get_context("spawn").Process(
        target=build_and_die, args=(root, tmp_path / "cache")
    )
    process.start()
    process.join()
    packs = tmp_path / "cache" / "packs"
    assert process.exitcode == -signal.SIGKILL
    assert {p.name for p in packs.iterdir()} == {".lock", ".lock.partial"}
    assert len(packed(root, tmp_path / "cache").images_NHWC) == 3
    (lock,) = packs.glob(".*")
    assert lock.is_file() and len(list(packs.iterdir())) == 2


def refused(root: Path, cache: Path, image_size: int = 16) -> str:
    with pytest.raises(ValueError) as error:
        packed(root, cache, image_size)
    return str(error.value)


def test_an_image_of_other_channels_than_declared_is_refused_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    root = write_folder(tmp_path / "root", 2)
    (root / "p" / "p_2.tif").unlink()
    cv2.imwrite(str(root / "p" / "p_2.png"), np.zeros((16, 16), np.uint8))
    assert refused(root, tmp_path / "cache") == (
        "images must have the declared number of channels, 3, p/p_2.png has 1; declare it with "
        "--set channels=1, or export all alike"
    )
    assert [p.name for p in (tmp_path / "cache" / "packs").iterdir()] == [".lock"]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 2)
    image = root / "p" / "p_1.tif"
    image.write_bytes(image.read_bytes()[:100])
    assert refused(root, tmp_path / "cache") == (
        "every image and mask must be readable, p/p_1.tif cannot be decoded; "
        "restore it, or remove the slice"
    )


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 2)
    mask = root / "p" / "p_2_mask.tif"
    cv2.imwrite(str(mask), np.zeros((16, 12), np.uint8))
    assert refused(root, tmp_path / "cache") == (
        "a mask must have the size of its image, p/p_2_mask.tif is 16x12 and p/p_2.tif is 16x16; "
        "export both at one size"
    )


def test_a_mask_that_turns_grey_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 1)
    table = find_slices(root)
    cv2.imwrite(str(root / "p" / "p_1_mask.tif"), np.full((16, 16), 7, np.uint8))
    with pytest.raises(ValueError, match=r"p_1_mask.tif holds 7 \(256 px\); threshold it"):
        open_pack(table, root, image_size=16, cache=tmp_path / "cache")


def test_a_pack_larger_than_the_free_disk_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 1)
    message = refused(root, tmp_path / "cache", image_size=10**8)
    assert message.startswith("the cache must have room for 40000000000.0 MB, ")
    assert message.endswith(" MB free; free some, or set BRAINSEG_CACHE to another disk")


def test_a_cache_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert refused(write_folder(tmp_path / "root", 1), tmp_path / "cache") == (
        "the cache must be a writable folder with room for 0.0 MB, "
        f"{tmp_path}/cache/packs is not (Not a directory); set BRAINSEG_CACHE to another"
    )


def test_sizes_below_one_pixel_and_tables_without_slices_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 1)
    assert refused(root, tmp_path, image_size=0) == (
        "image_size must be at least 1 pixel, got 0; try 128"
    )
    with pytest.raises(ValueError, match="a pack must hold at least one slice"):
        open_pack(find_slices(root)[:0], root, image_size=16, cache=tmp_path)


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
        seen = list(chain.from_iterable(batch.rows.tolist() for batch in batches))
        assert sorted(seen) == rows.tolist()
        image_NCHW = torch.cat([batch.image_BCHW for batch in batches])
        images[epoch] = image_NCHW[np.argsort(seen)]
    assert all(not torch.equal(a, b) for a, b in zip(images[0], images[1], strict=True))


def test_a_batch_that_the_workers_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        training_batches(pack_of(9), np.arange(9), STILL, batch_size=8, seed=0, epoch=0, world=3)
    assert str(error.value) == "batch_size must be a multiple of the 3 workers, got 8; try 9"


def test_fewer_images_than_workers_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        training_batches(pack_of(2), np.arange(2), STILL, batch_size=3, seed=0, epoch=0, world=3)
    assert str(error.value) == (
        "each worker must get an image, 2 images are fewer than 3 workers; take fewer workers"
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
        for one, other in zip(alone, epoch(threads), strict=True):
            assert np.array_equal(one.rows, other.rows)
            assert torch.equal(one.slices_BHWD, other.slices_BHWD)


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
def test_every_slice_is_scored_once_in_the_same_company_for_any_world(
    world: int, count: int
) -> None:
    pack, rows = pack_of(30), np.arange(30)[::-1][:count]
    per_rank = [
        list(scoring_batches(pack, rows, batch_size=4, rank=rank, world=world))
        for rank in range(world)
    ]
    together = {tuple(batch.rows): batch for batches in per_rank for batch in batches}
    alone = list(scoring_batches(pack, rows, batch_size=4))
    assert sum(map(len, per_rank)) == len(together) == len(alone)
    assert np.array_equal(np.concatenate([batch.rows for batch in alone]), rows)
    for batch in alone:
        assert torch.equal(together[tuple(batch.rows)].image_BCHW, batch.image_BCHW)
        assert torch.equal(together[tuple(batch.rows)].mask_BHW, batch.mask_BHW)


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


def test_a_pack_of_real_patients_holds_what_the_files_hold(lgg: Path, tmp_path: Path) -> None:
    patient = "TCGA_CS_4943_20000902"
    shutil.copytree(lgg / patient, tmp_path / "root" / patient)
    table = find_slices(tmp_path / "root")
    pack = open_pack(table, tmp_path / "root", image_size=256, cache=tmp_path / "cache")
    assert pack.masks_NHW.sum(axis=(1, 2)).tolist() == table["tumour_pixels"].tolist()
    image_HWC = read_image(tmp_path / "root", table["image"][9])
    assert np.array_equal(pack.images_NHWC[9], image_HWC)
    half = open_pack(table, tmp_path / "root", image_size=128, cache=tmp_path / "cache")
    assert half.masks_NHW.sum() * 4 == pytest.approx(pack.masks_NHW.sum(), rel=0.05)
