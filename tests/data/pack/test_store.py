"""A pack is built once and whole, from the files as they are, and mapped by whoever asks."""

import multiprocessing
import os
import shutil
import signal
import sys
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np
import pytest

from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import open_pack
from brainseg.data.readers.images import read_image
from brainseg.records.cache import default_cache
from tests.support.packs import packed, write_folder


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
    shutil.copy(root / "p" / "p_1.tif", root / "p" / "p_2.tif")
    packed(root, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "packs").glob("[!.]*"))) == 3


def test_a_copy_elsewhere_with_other_times_has_the_pack_of_the_original(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 3)
    packed(root, tmp_path / "cache")
    os.utime(root / "p" / "p_2.tif", ns=(1, 1))
    packed(root, tmp_path / "cache")
    packed(Path(shutil.copytree(root, tmp_path / "copy")), tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "packs").glob("[!.]*"))) == 1


def test_a_recorded_fingerprint_opens_what_the_run_began_with_and_builds_nothing_else(
    tmp_path: Path,
) -> None:
    root, cache = write_folder(tmp_path / "root", 3), tmp_path / "cache"
    table = find_slices(root)
    recorded = fingerprint(table, root)
    built = open_pack(table, root, image_size=16, recorded=recorded, cache=cache)
    shutil.copy(root / "p" / "p_1.tif", root / "p" / "p_2.tif")
    again = open_pack(table, root, image_size=16, recorded=recorded, cache=cache)
    assert np.array_equal(again.slices_NHWD, built.slices_NHWD)
    assert len(list((cache / "packs").glob("[!.]*"))) == 1
    with pytest.raises(ValueError) as error:
        open_pack(table, root, image_size=8, recorded=recorded, cache=cache)
    assert str(error.value) == (
        f"files must not change during a run, some under {root} have changed since it started "
        "(the sweep's command, run again, names them); restore them, or start a run with another "
        "--name"
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


def builds(event: str, args: tuple[object, ...]) -> bool:
    """Whether a draft is being renamed into its place."""
    return event == "os.rename" and str(args[0]).endswith(".partial")


def build_and_count(
    root: Path, cache: Path, start: Barrier, counts: SimpleQueue[tuple[int, int]]
) -> None:
    """Report how often this process renamed a folder into place."""
    renames: list[object] = []
    table = find_slices(root)
    sys.addaudithook(lambda event, args: renames.append(args) if builds(event, args) else None)
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
    counted = [counts.get() for _ in processes]
    assert sorted(builds for builds, _ in counted) == [0, 1]
    assert {total for _, total in counted} == {sum(range(1, 101))}


def build_and_die(root: Path, cache: Path) -> None:
    """Kill this process when all is written and only the rename is missing."""

    def die(event: str, args: tuple[object, ...]) -> None:
        if builds(event, args):
            os.kill(os.getpid(), signal.SIGKILL)

    table = find_slices(root)
    sys.addaudithook(die)
    open_pack(table, root, image_size=16, cache=cache)


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
        "images must have the declared number of channels (3), p/p_2.png has 1; declare it with "
        "--set channels=1, or export all images alike"
    )
    assert [p.name for p in (tmp_path / "cache" / "packs").iterdir()] == [".lock"]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "root", 2)
    image = root / "p" / "p_1.tif"
    image.write_bytes(image.read_bytes()[:100])
    assert refused(root, tmp_path / "cache") == (
        "every image and mask must be readable, p/p_1.tif cannot be decoded (corrupted IFD "
        "structure); restore it, or remove the slice"
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
    with pytest.raises(ValueError, match=r"p_1_mask.tif holds 7 \(256 px\); use --label"):
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
