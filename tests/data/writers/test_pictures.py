"""Masks and probabilities come back from PNG and TIFF as they were."""

from pathlib import Path

import numpy as np
import pytest

from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.writers.overlay import PREDICTED, TRUE, write_overlay
from brainseg.data.writers.pictures import write_mask, write_probabilities
from tests.support.scans import blob, noise


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (3, 200), (97, 5)])
def test_a_mask_is_black_and_white(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    mask_HW = blob(*size, top=1)
    write_mask(tmp_path / f"m{suffix}", mask_HW)
    assert set(np.unique(read_image(tmp_path, f"m{suffix}"))) <= {0, 255}
    assert np.array_equal(read_mask(tmp_path, f"m{suffix}"), mask_HW)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_probability_is_a_share_of_65535(tmp_path: Path, suffix: str) -> None:
    probabilities = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    write_probabilities(tmp_path / f"p{suffix}", probabilities)
    held = read_image(tmp_path, f"p{suffix}")[..., 0]
    assert held.dtype == np.uint16 and held.min() == 0 and held.max() == 65535
    assert np.abs(held / 65535 - probabilities).max() < 1e-5


def test_an_overlay_outlines_both(tmp_path: Path) -> None:
    write_overlay(tmp_path / "o.png", noise(20, 30), blob(20, 30, top=1), blob(20, 30)[::-1] // 255)
    shown = read_image(tmp_path, "o.png")
    assert shown.shape == (360, 540, 3)
    for colour in (PREDICTED, TRUE):
        assert (shown == colour[::-1]).all(axis=2).sum() > 200
    write_overlay(tmp_path / "o.png", noise(20, 30), blob(20, 30, top=1), None)
    assert not (read_image(tmp_path, "o.png") == TRUE[::-1]).all(axis=2).any()
