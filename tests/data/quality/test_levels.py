"""A patient whose head keeps too few grey levels to be seen is told, with the likely cause."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.quality.check import check
from brainseg.data.quality.levels import faults_of_levels, levels_in_head
from tests.support.faults import Data, change
from tests.support.scans import write_volume


def head(seed: int = 0, air: int = 0) -> NDArray[np.int16]:
    """Slices with a head of many intensities, in air of one."""
    scan = np.full((4, 48, 48), air, np.int16)
    scan[:, 8:40, 8:40] = np.random.default_rng(seed).integers(100, 900, (4, 32, 32))
    return scan


def notes(root: Path, scan: NDArray[np.int16]) -> list[str]:
    tumour = np.zeros(scan.shape, np.uint8)
    tumour[1, 12:16, 12:16] = 1
    for patient, voxels in (("p", scan), ("q", head(1))):
        write_volume(root / patient / "scan.nii.gz", voxels)
        write_volume(root / patient / "seg.nii.gz", tumour)
    return check(root).notes


@pytest.mark.parametrize("air", [0, -500, 30, 1200])
def test_a_head_of_many_levels_needs_no_note(tmp_path: Path, air: int) -> None:
    assert notes(tmp_path, head(air=air)) == []


def test_files_of_few_values_are_told(tmp_path: Path) -> None:
    assert notes(tmp_path, head() // 100 * 100) == [
        "p keeps only 8 grey levels in channel 0: the files hold 9 values"
    ]


def test_a_head_that_lies_in_a_corner_of_its_range_is_told(tmp_path: Path) -> None:
    scan = head() // 8
    scan[0, 8:10, 8:30] = np.random.default_rng(0).integers(4000, 30_000, (2, 22))
    assert notes(tmp_path, scan) == [
        "p keeps only 2 grey levels in channel 0: intensities reach from 0 to 29239, 9 in 10 of "
        "them lie between 0 and 103 (padding, or single bright voxels)"
    ]


@pytest.mark.parametrize("share", [0.01, 0.02, 0.03])
def test_scattered_voxels_that_crowd_the_head_are_told(tmp_path: Path, share: float) -> None:
    rng, scan = np.random.default_rng(0), head()
    spread = rng.integers(-32_768, 32_767, scan.shape)
    scan = np.where(rng.random(scan.shape) < share, spread, scan).astype(np.int16)
    assert notes(tmp_path, scan)[0].startswith("p keeps only ")


def test_outliers_and_padding_are_no_reason_for_a_note(tmp_path: Path) -> None:
    scan = head()
    scan[0, 20, 20], scan[:, :8] = 32_767, -32_768
    assert notes(tmp_path, scan) == []


def test_bright_padding_is_told_since_it_becomes_white(tmp_path: Path) -> None:
    scan = head()
    scan[:, :8] = 32_767
    assert notes(tmp_path, scan) == [
        "p has 17% of its pixels in channel 0 far above all others, up to 32767: padding, which "
        "becomes white; write 0 where nothing was measured"
    ]


def test_many_patients_of_few_levels_are_counted(tmp_path: Path) -> None:
    for n in range(9):
        scan, tumour = head(n + 5) // 100 * 100, np.zeros((4, 48, 48), np.uint8)
        tumour[1, 12 + n : 16 + n, 12:16] = 1
        write_volume(tmp_path / f"z{'abcdefghi'[n]}" / "scan.nii.gz", scan)
        write_volume(tmp_path / f"z{'abcdefghi'[n]}" / "seg.nii.gz", tumour)
    told = [note for note in notes(tmp_path, head()) if "grey levels" in note]
    assert len(told) == 7 and told[-1] == (
        "so it is with the grey levels of 3 more patients: zg, zh, zi"
    )


def test_a_channel_of_one_value_is_not_told_twice(tmp_path: Path) -> None:
    (sentence,) = notes(tmp_path, np.full((4, 48, 48), 7, np.int16))[1:]
    assert sentence.startswith("channel 0 holds a single value")


def test_pictures_of_8_bits_are_told_too(data: Data) -> None:
    for patient in (2, 3):
        for number in range(1, 7):
            change(data.image(patient, number), lambda pixels: pixels // 64 * 64)
    told = [note for note in check(data.root).notes if "keeps only" in note]
    assert [note.split()[0] for note in told] == ["PHANTOM_0002", "PHANTOM_0003"]
    assert "the files hold 4 values" in told[0]


def test_one_value_is_the_background_whatever_its_grey_level() -> None:
    values = np.concatenate([np.full(5000, -3.5), np.linspace(0, 9, 1000)])
    grey = np.concatenate([np.full(5000, 60, np.uint8), np.arange(1000).astype(np.uint8) % 40])
    assert levels_in_head(values, grey) == 40
    assert levels_in_head(np.array([0, 0, 255], np.uint8), np.array([0, 0, 255], np.uint8)) == 1


def test_images_of_several_types_have_no_levels_in_common() -> None:
    assert faults_of_levels([np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint16)]) == ""
