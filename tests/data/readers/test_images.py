"""Every format gives the pixels that were written into it; a file that lies is refused by name."""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainseg.data.readers import nifti
from brainseg.data.readers.images import read_image, read_mask
from brainseg.data.readers.problems import Refused
from tests.support.scans import LZW, UNCOMPRESSED, blob, noise, write_picture, write_volume


def refused(work: Callable[..., Any], root: Path, name: str, *where: int) -> str:
    with pytest.raises(Refused) as error:
        work(root, name, *where)
    assert error.value.problem.file == name
    return str(error.value)


# Pictures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("suffix", "compression"), [(".png", 0), (".tif", UNCOMPRESSED), (".tiff", LZW)]
)
def test_a_picture_is_read_as_it_was_written(
    tmp_path: Path, suffix: str, compression: int, channels: int, dtype: type
) -> None:
    pixels_HWC = noise(7, 9, channels, dtype=dtype)
    write_picture(tmp_path / f"a{suffix}", pixels_HWC, compression)
    read = read_image(tmp_path, f"a{suffix}")
    assert read.dtype == dtype
    assert np.array_equal(read, pixels_HWC)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_a_channel_that_changes_no_other(tmp_path: Path, mode: str, suffix: str) -> None:
    pixels_HWC = noise(7, 9, len(mode))
    Image.fromarray(pixels_HWC, mode).save(tmp_path / f"a{suffix}")
    assert np.array_equal(read_image(tmp_path, f"a{suffix}"), pixels_HWC)


def test_a_tiff_of_floats_is_read_as_floats(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.tif", noise(7, 9, dtype=np.float32))
    assert np.array_equal(read_image(tmp_path, "a.tif")[..., 0], noise(7, 9, dtype=np.float32))


def test_files_of_one_channel_are_joined_in_their_order(tmp_path: Path) -> None:
    planes = [noise(7, 9) // n for n in (1, 2, 3, 4)]
    for n, plane in enumerate(planes):
        write_picture(tmp_path / f"{n}.png", plane)
    image_HWC = read_image(tmp_path, "0.png|1.png|2.png|3.png")
    assert np.array_equal(image_HWC, np.stack(planes, axis=2))


def test_more_than_four_channels_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", noise(7, 9, 3))
    assert refused(read_image, tmp_path, "a.png|a.png") == (
        "an image must have 1 to 4 channels, a.png|a.png has 6; remove channels"
    )


def test_channel_files_of_unlike_sizes_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", noise(7, 9))
    write_picture(tmp_path / "b.png", noise(9, 7))
    with pytest.raises(Refused) as error:
        read_image(tmp_path, "a.png|b.png")
    assert str(error.value) == (
        "the channels of an image must have the same size, b.png is 9x7 and a.png is 7x9; "
        "export all at one size"
    )


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def spoiled(path: Path) -> None:
    path.write_bytes(b"not a picture, whatever its name says")


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut_off, "cannot be decoded"),
        (emptied, "is empty"),
        (spoiled, "cannot be decoded"),
        (Path.unlink, "is missing"),
        (made_a_folder, "is not a file"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(
    tmp_path: Path, name: str, harm: Callable[[Path], None], reason: str
) -> None:
    write = write_volume if ".nii" in name else write_picture
    path = write(tmp_path / name, noise(20, 30, 3))
    where = (0, 2) if ".nii" in name else ()
    read_image(tmp_path, name, *where)
    harm(path)
    for read in (read_image, read_mask):
        message = refused(read, tmp_path, name, *where)
        assert message.startswith(f"every image and mask must be readable, {name} {reason}")
        assert message.endswith("; restore it, or remove the slice")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_bomb(path: Path, side: int = 100_000) -> Path:
    """A PNG of some kilobytes that claims side * side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    return path


def test_a_picture_that_claims_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    assert write_bomb(tmp_path / "a.png").stat().st_size < 5000
    assert refused(read_image, tmp_path, "a.png") == (
        "a picture must have at most 67108864 pixels, a.png claims 100000 x 100000; "
        "check the file, or cut it into parts"
    )


def test_a_volume_that_claims_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(header.binaryblock + bytes(1 << 20))
    assert refused(read_image, tmp_path, "a.nii.gz", 0, 2) == (
        "a volume must take at most 4 GiB, a.nii.gz holds 2000 x 2000 x 2000 float32; "
        "check the file, or cut it into parts"
    )


def test_comments_of_gigabytes_before_the_voxels_are_refused(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(3, 4, 5))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 1e9)
    path.write_bytes(content)
    assert "its header says that voxels begin at byte 1e+09" in refused(
        read_image, tmp_path, "a.nii", 0, 2
    )


def test_several_pages_are_refused_not_reduced_to_the_first(tmp_path: Path) -> None:
    cv2.imwritemulti(str(tmp_path / "a.tif"), [noise(7, 9), noise(7, 9)])
    assert refused(read_image, tmp_path, "a.tif") == (
        "a TIFF file must hold one slice, a.tif holds several pages; save each slice as a file"
    )


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_picture_that_asks_to_be_turned_is_refused(tmp_path: Path, turn: int) -> None:
    Image.fromarray(noise(7, 9)).save(tmp_path / "a.tif", tiffinfo={274: turn})
    assert "a TIFF file must be stored upright" in refused(read_image, tmp_path, "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    pixels = noise(7, 9, dtype=np.float32)
    pixels[2, 3:5] = value
    write_picture(tmp_path / "a.tif", pixels)
    assert refused(read_image, tmp_path, "a.tif") == (
        "an image must hold finite numbers, a.tif holds 2 that are not; "
        "write 0 where nothing was measured"
    )


@pytest.mark.parametrize("name", ["../a.png", "sub/../../a.png", "{absolute}", "link.png"])
def test_nothing_outside_the_root_is_read(tmp_path: Path, name: str) -> None:
    outside = write_picture(tmp_path / "a.png", blob())
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "link.png").symlink_to(outside)
    name = name.format(absolute=outside)
    for read in (read_image, read_mask):
        with pytest.raises(Refused) as error:
            read(root, name)
        assert str(error.value) == (
            f"every file must lie inside the data folder, {name} leads to {outside}; "
            "copy it there, or remove the link"
        )


def test_a_link_inside_the_root_is_followed(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", noise(7, 9))
    (tmp_path / "link.png").symlink_to("a.png")
    assert read_image(tmp_path, "link.png").shape == (7, 9, 1)


# Volumes


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_gives_the_slices_it_was_made_of(tmp_path: Path, name: str, dtype: type) -> None:
    voxels_SHW = noise(4, 7, 9, dtype=dtype)
    path = write_volume(tmp_path / name, voxels_SHW)
    about = nifti.geometry(path, name)
    assert (about.shape, about.axis, about.channels) == ((9, 7, 4), 2, 1)
    assert about.slice_spacing_mm == pytest.approx((0.9, 0.8, 5.0))
    for index in range(4):
        read = read_image(tmp_path, name, index, 2)
        assert read.dtype == dtype
        assert np.array_equal(read[..., 0], voxels_SHW[index])


def test_a_fourth_axis_holds_channels(tmp_path: Path) -> None:
    voxels_SHWC = noise(4, 7, 9, 3)
    write_volume(tmp_path / "a.nii.gz", voxels_SHWC, spacing_mm=(5.0, 1.0, 1.0))
    assert np.array_equal(read_image(tmp_path, "a.nii.gz", 1, 2), voxels_SHWC[1])


@pytest.mark.parametrize(("thick", "axis"), [(0, 2), (1, 1), (2, 0)])
def test_a_volume_is_cut_along_its_largest_spacing(tmp_path: Path, thick: int, axis: int) -> None:
    spacing = [1.0, 1.0, 1.0]
    spacing[thick] = 4.0
    voxels_SHW = noise(4, 7, 9)
    path = write_volume(tmp_path / "a.nii", voxels_SHW, tuple(spacing))
    about = nifti.geometry(path, "a.nii")
    assert about.axis == axis
    assert about.slice_spacing_mm == (1.0, 1.0, 4.0)
    image_HWC = read_image(tmp_path, "a.nii", 3, axis)
    assert np.array_equal(image_HWC[..., 0], np.take(voxels_SHW, 3, thick))


def test_a_volume_of_equal_spacings_is_cut_along_its_last_axis(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(4, 7, 9), (1.0, 1.001, 1.002))
    assert nifti.geometry(path, "a.nii").axis == 2


def test_spacings_are_told_in_millimetres_whatever_the_file_uses(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(4, 7, 9), (0.005, 0.001, 0.001))
    image = nibabel.load(path)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "b.nii")
    assert nifti.geometry(tmp_path / "b.nii", "b.nii").spacing_mm == pytest.approx((1, 1, 5))


def test_stored_numbers_that_the_file_scales_are_scaled(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(noise(9, 7, 4).astype(np.float32) / 10, np.diag([1, 1, 5, 1]))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "a.nii")
    read = read_image(tmp_path, "a.nii", 2, 2)[..., 0]
    assert read == pytest.approx(noise(9, 7, 4)[..., 2].T / 10, abs=1e-3)


def test_a_volume_is_read_once_for_all_its_slices(tmp_path: Path) -> None:
    names = [f"{n}.nii.gz" for n in range(5)]
    for name in names:
        write_volume(tmp_path / name, noise(4, 7, 9))
    joined = "|".join(names[:4])
    read_image(tmp_path, joined, 0, 2)
    stat = [os.stat(tmp_path / name) for name in names]
    for name, was in zip(names[:4], stat, strict=False):
        (tmp_path / name).write_bytes(bytes(was.st_size))  # of the same size and age: not looked at
        os.utime(tmp_path / name, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert read_image(tmp_path, joined, 3, 2).shape == (7, 9, 4)
    write_volume(tmp_path / names[0], noise(4, 7, 8))
    assert read_image(tmp_path, names[0], 3, 2).shape == (7, 8, 1)


def test_a_flipped_bit_in_a_compressed_volume_is_noticed(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii.gz", noise(4, 7, 9))
    content = bytearray(path.read_bytes())
    content[-30] ^= 4  # in the stored, incompressible voxels
    path.write_bytes(content)
    assert "a.nii.gz cannot be decoded" in refused(read_image, tmp_path, "a.nii.gz", 0, 2)


def test_a_slice_beyond_the_volume_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii", noise(4, 7, 9))
    assert refused(read_image, tmp_path, "a.nii", 4, 2) == (
        "a volume must not change after it was listed, a.nii has no slice 4 along axis 2; "
        "list the folder again"
    )


def rgb(path: Path) -> None:
    colour = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3), colour), np.eye(4)), path)


def over_time(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3, 60), np.uint8), np.eye(4)), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (rgb, "a volume must hold integers or floats, a.nii holds 4 x 5 x 3 "),
        (
            over_time,
            "a volume must have three axes, or four of which the last holds 1 to 4 channels, "
            "a.nii holds ",
        ),
    ],
)
def test_a_volume_of_something_else_is_refused(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "a.nii")
    assert refused(read_image, tmp_path, "a.nii", 0, 2).startswith(message)


@pytest.mark.parametrize("seed", range(60))
def test_a_header_with_any_bytes_spoiled_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    path = write_volume(tmp_path / "a.nii", noise(3, 4, 5))
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(4, 352, 6):
        content[at] = rng.integers(256)
    path.write_bytes(content)
    try:
        read_image(tmp_path, "a.nii", 0, nifti.geometry(path, "a.nii").axis)
    except Refused as error:
        assert error.problem.file == "a.nii"


# Masks


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
            "a mask must hold 0 and 1, or 0 and 255, or only 0, m.png holds 0 (240 px), "
            "2 (16 px); threshold it, or redraw it",
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
def test_a_mask_that_is_none_is_refused_with_its_histogram(
    tmp_path: Path, pixels: NDArray[np.uint8], message: str
) -> None:
    write_picture(tmp_path / "m.png", pixels)
    assert refused(read_mask, tmp_path, "m.png") == message


def test_a_mask_of_floats_between_is_refused(tmp_path: Path) -> None:
    write_volume(tmp_path / "m.nii", blob(top=1)[None] * np.float32(0.5))
    assert "m.nii holds 0.0 (240 px), 0.5 (16 px)" in refused(read_mask, tmp_path, "m.nii", 0, 2)


def test_the_real_files_are_read_as_their_readme_says(lgg: Path) -> None:
    patient = min(lgg.glob("TCGA_*")).name
    image = f"{patient}/{patient}_12.tif"
    assert read_image(lgg, image).shape == (256, 256, 3)
    assert read_image(lgg, image).dtype == np.uint8
    assert read_mask(lgg, image.replace(".tif", "_mask.tif")).max() <= 1
