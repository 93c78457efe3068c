"""A picture is read as it was written; a damaged, huge or hostile file is refused by name."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from brainseg.data.readers.images import read_image, read_picture, single_threaded
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.picture import PADDED
from brainseg.data.readers.problems import Refused
from tests.support.scans import (
    LZW,
    UNCOMPRESSED,
    blob,
    noise,
    refused_reading,
    write_picture,
    write_volume,
)


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
    assert refused_reading(read_image, tmp_path, "a.png|a.png") == (
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
        message = refused_reading(read, tmp_path, name, *where)
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
    assert refused_reading(read_image, tmp_path, "a.png") == (
        "a picture must have at most 67108864 pixels, a.png claims 100000 x 100000; "
        "check the file, or cut it into parts"
    )


def test_a_volume_that_claims_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(header.binaryblock + bytes(1 << 20))
    assert refused_reading(read_image, tmp_path, "a.nii.gz", 0, 2) == (
        "a volume must take at most 4 GiB, a.nii.gz holds 2000 x 2000 x 2000 float32; "
        "check the file, or cut it into parts"
    )


def test_comments_of_gigabytes_before_the_voxels_are_refused(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", noise(3, 4, 5))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 108, 1e9)
    path.write_bytes(content)
    assert "its header says that voxels start at byte 1e+09" in refused_reading(
        read_image, tmp_path, "a.nii", 0, 2
    )


def test_several_pages_are_refused_not_reduced_to_the_first(tmp_path: Path) -> None:
    cv2.imwritemulti(str(tmp_path / "a.tif"), [noise(7, 9), noise(7, 9)])
    assert refused_reading(read_image, tmp_path, "a.tif") == (
        "a TIFF file must hold one slice, a.tif holds several pages; save each slice as a file"
    )


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_picture_that_is_not_stored_upright_is_refused(tmp_path: Path, turn: int) -> None:
    Image.fromarray(noise(7, 9)).save(tmp_path / "a.tif", tiffinfo={274: turn})
    assert "a TIFF file must be stored upright" in refused_reading(read_image, tmp_path, "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    pixels = noise(7, 9, dtype=np.float32)
    pixels[2, 3:5] = value
    write_picture(tmp_path / "a.tif", pixels)
    assert refused_reading(read_image, tmp_path, "a.tif") == (
        "an image must hold finite numbers up to 1e+15, a.tif holds 2 that are not; "
        "write 0 where nothing was measured"
    )


@pytest.mark.parametrize("offset", [0, -300])
def test_nan_around_a_picture_is_black_and_said(tmp_path: Path, offset: float) -> None:
    """As SPM, FSL and SynthStrip leave it outside the head; NaN in every corner, or in one."""
    voxels = noise(3, 7, 9, dtype=np.float32) + np.float32(offset)
    known = voxels.copy()
    voxels[:, :2] = voxels[:, :, 7:] = voxels[1] = np.nan
    black = min(0, np.nanmin(voxels))
    known[np.isnan(voxels)] = black
    write_volume(tmp_path / "a.nii", voxels)
    write_picture(tmp_path / "a.tif", voxels[0])
    for name, where in (("a.tif", ()), ("a.nii", (0, 2)), ("a.nii", (1, 2))):
        picture = read_picture(tmp_path, name, *where)
        if name == "a.nii":
            assert np.array_equal(picture.samples_HWC[..., 0], known[where[0]])
        assert picture.traits == {PADDED} and np.isfinite(picture.samples_HWC).all()
    voxels[2, 4, 4] = np.inf
    write_volume(tmp_path / "b.nii", voxels)
    write_volume(tmp_path / "c.nii", np.full_like(voxels, np.nan))
    for name, count in (("b.nii", 1), ("c.nii", voxels.size)):
        assert f"{name} holds {count} that are not" in refused_reading(
            read_image, tmp_path, name, 0, 2
        )


@pytest.mark.parametrize(
    ("dtype", "mark"), [("f8", -1e300), ("f4", np.finfo("f4").min), ("f4", 1e30), ("i8", -(2**63))]
)
def test_marks_of_pixels_without_a_value_are_refused(
    tmp_path: Path, dtype: str, mark: float
) -> None:
    pixels = np.zeros((7, 9), dtype)
    pixels[3, 3] = mark
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = nibabel.Nifti1Image(pixels.T[..., None], np.eye(4), dtype=pixels.dtype)
    nibabel.save(image, tmp_path / "a.nii")
    for name, where in (("a.tif", ()), ("a.nii", (0, 2))):
        assert refused_reading(read_image, tmp_path, name, *where) == (
            f"an image must hold finite numbers up to 1e+15, {name} holds 1 that are not; "
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


def test_a_relative_root_is_that_of_the_working_folder_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("first", "second"):
        (tmp_path / place / "patients").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        write_picture(Path("patients/a.png"), blob())
        assert read_image(Path("patients"), "a.png").shape[2] == 1


def test_the_real_files_are_read_as_their_readme_says(lgg: Path) -> None:
    patient = min(lgg.glob("TCGA_*")).name
    image = f"{patient}/{patient}_12.tif"
    assert read_image(lgg, image).shape == (256, 256, 3)
    assert read_image(lgg, image).dtype == np.uint8
    assert read_mask(lgg, image.replace(".tif", "_mask.tif")).max() <= 1


def test_opencv_has_its_threads_again_once_the_last_of_several_users_ends() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    first, second = single_threaded(), single_threaded()
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
