"""Any kind of mask means zeros and ones; one that could mean anything else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.readers.masks import read_labels, read_mask
from tests.support.nifti_bytes import Nifti
from tests.support.png_bytes import PALETTE, png
from tests.support.scans import blob, refused_reading, write_picture, write_volume
from tests.support.tiff_bytes import SHORT, Tiff, tiff


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


VOC = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_places_in_a_palette_with_colours_are_labels(tmp_path: Path, kind: str) -> None:
    """As LabelMe, ITK-SNAP and PASCAL VOC write them; a palette of greys stands for these."""

    def write(labels_HW: NDArray[Any], colours_N3: NDArray[Any]) -> None:
        labels_HW1 = labels_HW[..., None].astype(np.uint8)
        if kind == "PNG":
            content = png(labels_HW1, PALETTE, 8, palette=colours_N3)
        else:
            full = np.zeros((256, 3), int)
            full[: len(colours_N3)] = colours_N3 * 257
            content = tiff(
                labels_HW1,
                Tiff(bits=8, photometric=3, tags={320: (SHORT, full.T.ravel().tolist())}),
            )
        (tmp_path / "m").write_bytes(content)

    write(blob(top=1), VOC)
    assert np.array_equal(read_mask(tmp_path, "m"), blob(top=1))
    write(blob(top=3) - blob(top=1), VOC)
    with pytest.raises(ValueError, match=r"m holds 0 \(240 px\), 2 \(16 px\); use --label"):
        read_mask(tmp_path, "m")
    assert np.array_equal(read_mask(tmp_path, "m", label="2"), blob(top=1))
    assert not read_mask(tmp_path, "m", label="1+3").any()
    write(blob(top=1), np.array([[0] * 3, [255] * 3]))
    assert read_labels(tmp_path, "m", label="255").mask_HW.any()


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


def test_nan_in_a_mask_is_told_as_such(tmp_path: Path) -> None:
    voxels = np.stack([blob(top=1), blob(top=0)]).astype(np.float32)
    voxels[1, 0, :2] = np.nan
    write_volume(tmp_path / "m.nii", voxels)
    for index in (0, 1):
        assert refused_reading(read_mask, tmp_path, "m.nii", index, 2) == (
            "a mask must hold finite numbers, m.nii holds 2 that are not; write 0 where nothing is "
            "marked"
        )


def test_a_volume_is_judged_as_a_whole(tmp_path: Path) -> None:
    full = np.ones((16, 16), np.uint8)  # one slice may be all tumour
    write_volume(tmp_path / "m.nii", np.stack([full, full * 0, full * 0]))
    assert read_mask(tmp_path, "m.nii", 0, 2).all()
    write_volume(tmp_path / "n.nii", np.stack([blob(top=1), blob(top=255)]))
    messages = {refused_reading(read_mask, tmp_path, "n.nii", index, 2) for index in (0, 1)}
    assert messages == {
        "a mask must hold 0 and 1, or 0 and 255, or only 0, n.nii holds 0 (480 px), 1 (16 px), "
        "255 (16 px); threshold it, or redraw it"
    }


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize(("label", "area"), [("whole", 16), ("2", 8), ("2+4", 16), ("7", 0)])
def test_labels_may_be_of_any_number_type(
    tmp_path: Path, dtype: type, label: str, area: int
) -> None:
    mask_HW = blob(top=2)
    mask_HW[4:6] *= 2
    write_volume(tmp_path / "m.nii", mask_HW[None].astype(dtype))
    assert read_mask(tmp_path, "m.nii", 0, 2, label=label).sum() == area
    write_picture(tmp_path / "m.tif", mask_HW.astype(dtype if dtype != np.int32 else np.uint8))
    assert read_mask(tmp_path, "m.tif", label=label).sum() == area


@pytest.mark.parametrize("stored", [(0.5, 2), (-1.0, 1), (1 / 3, 3)])
def test_labels_that_the_header_scales_are_read_as_scaled(
    tmp_path: Path, stored: tuple[float, int]
) -> None:
    slope, factor = stored
    voxels = (blob(top=1).T[..., None] * factor / (slope * factor)).round().astype(np.int16)
    scaled = Nifti(slope=slope).write(voxels, np.eye(4))
    (tmp_path / "m.nii").write_bytes(scaled)
    assert read_mask(tmp_path, "m.nii", 0, 2).sum() == 16


@pytest.mark.parametrize(
    ("value", "label", "rule"),
    [
        (-1, "", "a mask must hold 0 and 1, or 0 and 255, or only 0"),
        (-1, "whole", "the labels of a mask must be whole numbers from 0"),
        (0.5, "whole", "the labels of a mask must be whole numbers from 0"),
        (250, "", "a mask must hold 0 and 1, or 0 and 255, or only 0"),
        (99, "", "a mask must hold 0 and 1, or 0 and 255, unless --label says which labels"),
    ],
)
def test_what_is_no_label_is_refused_by_its_value(
    tmp_path: Path, value: float, label: str, rule: str
) -> None:
    write_volume(tmp_path / "m.nii", (blob(top=1)[None] * np.float32(value)).astype(np.float32))

    def read(root: Path, name: str) -> None:
        read_mask(root, name, 0, 2, label=label)

    message = refused_reading(read, tmp_path, "m.nii")
    assert message.startswith(rule) and f"{float(value)} (16 px)" in message
