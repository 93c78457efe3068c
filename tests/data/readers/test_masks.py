"""Any kind of mask means zeros and ones; one that could mean anything else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.readers.masks import read_mask
from tests.support.scans import blob, refused_reading, write_picture, write_volume


@pytest.mark.parametrize(
    "pixels",
    [
        blob(top=1),
        blob(top=255),
        np.repeat(blob()[..., None], 3, axis=2),
        np.concatenate([np.repeat(blob()[..., None], 3, axis=2), blob()[..., None] | 255], axis=2),
        blob().astype(np.uint16),
    ],
    ids=["0 and 1", "0 and 255", "grey RGB", "opaque RGBA", "16 bits"],
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_of_any_kind_means_zeros_and_ones(
    tmp_path: Path, pixels: NDArray[Any], suffix: str
) -> None:
    write_picture(tmp_path / f"m{suffix}", pixels)
    mask_HW = read_mask(tmp_path, f"m{suffix}")
    assert mask_HW.dtype == np.uint8
    assert np.array_equal(mask_HW, blob(top=1))


@pytest.mark.parametrize("top", [0, 1, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_the_slices_of_a_mask_volume_are_masks(tmp_path: Path, dtype: type, top: int) -> None:
    voxels = np.stack([np.zeros((16, 16)), blob(top=top)]).astype(dtype)
    write_volume(tmp_path / "m.nii.gz", voxels)
    areas = [int(read_mask(tmp_path, "m.nii.gz", index, 2).sum()) for index in (0, 1)]
    assert areas == [0, 16 if top else 0]


def with_edge(mask_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    edged = mask_HW.copy()
    edged[3, 4:8] = 128, 90, 60, 30
    return edged


def coloured(mask_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([mask_HW, mask_HW // 2, mask_HW], axis=2)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            with_edge(blob()),
            "a mask must hold 0 and 1, or 0 and 255, or only 0, m.png holds 0 (236 px), "
            "30 (1 px), 60 (1 px), 90 (1 px), 128 (1 px) and 1 more; "
            "threshold it, or redraw it",
        ),
        (
            blob(top=2),
            "a mask must hold 0 and 1, or 0 and 255, unless --label says which labels are tumour, "
            "m.png holds 0 (240 px), 2 (16 px); use --label whole for all of them, or join some, "
            "as --label 1+4",
        ),
        (
            255 - blob(),
            "a mask must mark the tumour, at most half of all pixels, m.png marks 94% and holds "
            "0 (16 px), 255 (240 px); invert it if it marks the background",
        ),
        (
            np.full((16, 16), 255, np.uint8),
            "a mask must mark the tumour, at most half of all pixels, m.png marks 100% and holds "
            "255 (256 px); invert it if it marks the background",
        ),
        (
            coloured(blob()),
            "a mask must be grey, m.png is coloured: 0/0/0 (240 px), 255/127/255 (16 px); "
            "convert it to grey",
        ),
    ],
    ids=["anti-aliased", "another value", "inverted", "all tumour", "coloured"],
)
def test_a_file_that_is_no_mask_is_refused_with_its_histogram(
    tmp_path: Path, pixels: NDArray[np.uint8], message: str
) -> None:
    write_picture(tmp_path / "m.png", pixels)
    assert refused_reading(read_mask, tmp_path, "m.png") == message


def test_a_mask_of_floats_between_0_and_1_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "m.nii", blob(top=1)[None] * np.float32(0.5))
    assert "m.nii holds 0.0 (240 px), 0.5 (16 px)" in refused_reading(
        read_mask, tmp_path, "m.nii", 0, 2
    )
