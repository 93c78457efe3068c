"""Any TIFF file is returned as it was written, or refused by what it is."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from brainseg.data.readers.images import read_image, read_picture
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.picture import ALPHA, LARGEST, LOSSY
from tests.support.scans import blob, noise, refused_reading
from tests.support.tiff_bytes import COMPRESSORS, SHORT, Tiff, tiff

TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = 0, 1, 2, 3


def written(tmp_path: Path, image_HWC: NDArray[Any], how: Tiff) -> NDArray[Any]:
    (tmp_path / "a.tif").write_bytes(tiff(image_HWC, how))
    return read_image(tmp_path, "a.tif")


def refused(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "a.tif").write_bytes(content)
    return refused_reading(read_image, tmp_path, "a.tif")


def random_samples(shape: tuple[int, ...], dtype: np.dtype[Any], bits: int) -> NDArray[Any]:
    """Over the whole range of so many bits, of 64 as far as they are taken; floats about 0."""
    if dtype.kind == "f":
        return noise(*shape, dtype=dtype)
    bits = min(bits, 49)
    low, high = (0, 2**bits) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return np.random.default_rng(bits).integers(low, high - 1, shape, dtype, endpoint=True)


@st.composite
def tiffs(draw: st.DrawFn) -> tuple[NDArray[Any], Tiff]:
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    whole = 8 * dtype.itemsize
    packed = {"u1": range(1, 9), "u2": range(9, 17)}.get(dtype.str[1:], (whole,))
    bits = draw(st.sampled_from(packed))
    photometric = draw(st.sampled_from((WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)))
    size = st.integers(1, 40)
    shape = draw(size), draw(size), draw(st.integers(3 if photometric == RGB else 1, 6))
    tile, rows = draw(st.sampled_from(((0, 0), (0, 1), (0, 7), (16, 0), (32, 0))))
    how = Tiff(
        bits=bits,
        photometric=photometric,
        planar=draw(st.sampled_from((1, 2))),
        order=draw(st.sampled_from("<>")),
        big=draw(st.booleans()),
        compression=draw(st.sampled_from(list(COMPRESSORS))),
        predictor=draw(st.sampled_from((1, 2))),
        fill_order=draw(st.sampled_from((1, 2))),
        tile=tile,
        rows=rows,
        extra=draw(st.integers(0, 2)),
        header_first=draw(st.booleans()),
    )
    return random_samples(shape, dtype, bits), how


@given(tiffs())
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
def test_any_tiff_is_returned_as_written_or_refused_by_what_it_is(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[NDArray[Any], Tiff]
) -> None:
    image_HWC, how = drawn
    tmp_path, channels = tmp_path_factory.getbasetemp(), image_HWC.shape[2]
    if channels > 4:
        message = refused(tmp_path, tiff(image_HWC, how))
        assert message == (
            f"an image must have 1 to 4 channels, a.tif has {channels}; remove channels"
        )
    elif how.predictor == 2 and (how.compression in (1, 32773) or how.bits % 8):
        message = refused(tmp_path, tiff(image_HWC, how))
        rule = "differences (tag 317) must be of whole bytes, in LZW, deflate, LZMA or Zstandard"
        assert message.startswith(f"{rule}, a.tif holds kind 2 of ")
        assert message.endswith("; save it with LZW, or without differences")
    elif how.photometric == WHITE_IS_ZERO and image_HWC.dtype.kind == "f":
        message = refused(tmp_path, tiff(image_HWC, how))
        assert message == (
            "white is zero must be of whole numbers, a.tif holds floats; save it with black as zero"
        )
    else:
        expected = image_HWC.copy()
        if how.photometric == WHITE_IS_ZERO:
            top = 2**how.bits - 1 if image_HWC.dtype.kind == "u" else -1
            expected[..., 0] = image_HWC.dtype.type(top) - image_HWC[..., 0]
        if float(expected.max()) > LARGEST:  # white is zero of 64 bits
            assert "up to 1e+15, a.tif holds " in refused(tmp_path, tiff(image_HWC, how))
            return
        read = written(tmp_path, image_HWC, how)
        assert np.array_equal(read, expected)
        assert read.dtype == (np.float32 if image_HWC.dtype == np.float16 else image_HWC.dtype)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("factor", [257, 256, 251])
def test_a_palette_stands_for_its_colours(tmp_path: Path, bits: int, factor: int) -> None:
    index_HW1 = random_samples((7, 9, 1), np.dtype("u1"), bits)
    palette = noise(3, 2**bits).astype(int)
    tags = {320: (SHORT, (palette * factor).ravel().tolist())}
    read = written(tmp_path, index_HW1, Tiff(bits=bits, photometric=PALETTE, tags=tags))
    assert read.dtype == (np.uint16 if factor == 251 else np.uint8)
    scale = factor if factor == 251 else 1
    assert np.array_equal(read, palette.T[index_HW1[..., 0]] * scale)


@pytest.mark.parametrize(
    ("dtype", "channels", "how", "message"),
    [
        ("u1", 4, Tiff(bits=8, photometric=5), "hold grey levels, RGB or a palette, {} CMYK"),
        ("u1", 3, Tiff(bits=8, photometric=6), "hold grey levels, RGB or a palette, {} YCbCr"),
        ("u1", 3, Tiff(bits=8, photometric=8), "hold grey levels, RGB or a palette, {} CIELab"),
        ("c8", 1, Tiff(bits=64), "whole numbers or floats, {} complex numbers of 64 bits"),
        (
            "u1",
            3,
            Tiff(bits=8, tags={258: (SHORT, [5, 6, 5])}),
            "whole numbers or floats, {} samples of 5, 6, 5 bits",
        ),
        ("u4", 1, Tiff(bits=24), "whole numbers or floats, {} whole numbers of 24 bits"),
        (
            "u1",
            1,
            Tiff(bits=8, tags={339: (SHORT, [4])}),
            "whole numbers or floats, {} numbers of no stated kind of 8 bits",
        ),
        (
            "u1",
            1,
            Tiff(bits=8, tags={259: (SHORT, [34712])}),
            "in docs/data.md, a.tif is compressed with JPEG2000",
        ),
        (
            "u1",
            1,
            Tiff(bits=8, without=(262,)),
            "must say what its samples mean (tag 262), a.tif does not",
        ),
        ("u1", 2, Tiff(bits=8, tags={262: (SHORT, [2])}), "three samples a pixel, a.tif has 2"),
        ("u1", 1, Tiff(bits=8, tags={330: (SHORT, [8])}), "reduced copies or other pictures"),
        ("u1", 1, Tiff(bits=8, tags={32997: (SHORT, [2])}), "holds a stack of slices"),
    ],
)
def test_what_is_no_grey_or_rgb_of_numbers_is_refused_by_its_name(
    tmp_path: Path, dtype: str, channels: int, how: Tiff, message: str
) -> None:
    image_HWC = noise(7, 9, channels).astype(dtype)
    assert message.format("a.tif holds") in refused(tmp_path, tiff(image_HWC, how))


def test_slices_behind_one_directory_are_refused_with_their_number(tmp_path: Path) -> None:
    for form, more in (("imagej", {"imagej": True}), ("shaped", {})):
        stored = BytesIO()
        tifffile.imwrite(stored, noise(5, 7, 9), truncate=form == "shaped", **more)
        content = stored.getvalue()
        if form == "imagej":  # as ImageJ writes what is above 4 GB: one directory for all
            content = one_directory(content)
        assert refused(tmp_path, content) == (
            "a TIFF file must hold one slice, a.tif holds 5 slices; save each slice as a file"
        )


def one_directory(content: bytes) -> bytes:
    """The same TIFF file, its first directory being its last."""
    cut = bytearray(content)
    order = "<" if content.startswith(b"II") else ">"
    (at,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, at)
    struct.pack_into(order + "I", cut, at + 2 + 12 * count, 0)
    return bytes(cut)


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4", "packbits", "tiff_lzw"])
def test_a_mask_of_one_bit_is_a_mask(tmp_path: Path, compression: str) -> None:
    Image.fromarray(blob() > 0).save(tmp_path / "m.tif", compression=compression)
    assert np.array_equal(read_mask(tmp_path, "m.tif"), blob(top=1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stored_as_differences_are_the_same_floats(tmp_path: Path, dtype: type) -> None:
    pixels = noise(14, 9, 3, dtype=dtype)
    how = {"compression": "zlib", "predictor": 3, "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    assert np.array_equal(read_image(tmp_path, "a.tif"), pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_in_tiff_is_lossy_and_refused_for_a_mask(tmp_path: Path, mode: str) -> None:
    Image.fromarray(blob(64, 64)).convert(mode).save(tmp_path / "m.tif", compression="jpeg")
    assert read_picture(tmp_path, "m.tif").traits == {LOSSY}
    assert read_image(tmp_path, "m.tif").shape == (64, 64, len(mode))
    assert refused_reading(read_mask, tmp_path, "m.tif") == (
        "a mask must be stored without loss, m.tif is compressed with JPEG, which blurs its edge; "
        "export it again, as PNG, from where it was drawn"
    )


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_a_fourth_sample_is_alpha_only_where_the_header_says_so(tmp_path: Path, extra: int) -> None:
    (tmp_path / "a.tif").write_bytes(
        tiff(noise(7, 9, 4), Tiff(bits=8, photometric=RGB, extra=extra))
    )
    assert read_picture(tmp_path, "a.tif").traits == ({ALPHA} if extra else set())


def test_a_strip_that_is_not_there_is_not_read_as_zeros(tmp_path: Path) -> None:
    for lengths, fault in (
        ([0, 63], "strip or tile 0 is missing or cut short"),
        ([63, 9999], "strip or tile 1 is missing or cut short"),
        ([63, 62], "it holds 125 of 126 bytes"),
        ([126], "it has 1 of 2 strips or tiles"),
    ):
        content = bytearray(tiff(noise(14, 9, 1), Tiff(bits=8, rows=7)))
        replace_values(content, 279, lengths)
        if len(lengths) == 1:
            replace_values(content, 273, [8])
        assert f"a.tif cannot be decoded ({fault})" in refused(tmp_path, bytes(content))


@pytest.mark.parametrize("tag", [266, 284])
def test_a_layout_of_samples_that_is_none_is_refused(tmp_path: Path, tag: int) -> None:
    content = tiff(noise(7, 9, 3), Tiff(bits=8, photometric=RGB, tags={tag: (SHORT, [3])}))
    assert f"(tag {tag} of its header is 3, not 1 or 2)" in refused(tmp_path, content)


def test_sixteen_bits_whose_number_of_bits_was_lost_are_not_read_as_one(tmp_path: Path) -> None:
    content = tiff(noise(20, 30, 1, dtype=np.uint16), Tiff(bits=16, without=(258,)))
    assert "(it holds 1200 of 80 bytes)" in refused(tmp_path, content)


def replace_values(content: bytearray, tag: int, values: list[int]) -> None:
    """Other LONGs in a little-endian directory that has room for as many."""
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        number, _, _, place = struct.unpack_from("<HHII", content, entry)
        if number == tag:
            struct.pack_into("<I", content, entry + 4, len(values))
            where = entry + 8 if len(values) == 1 else place
            struct.pack_into(f"<{len(values)}I", content, where, *values)


def test_a_tag_that_cannot_be_read_does_not_fall_back_to_its_default(tmp_path: Path) -> None:
    content = tiff(noise(7, 9, 3), Tiff(bits=8, photometric=RGB))
    broken = content.replace(struct.pack("<HHI", 258, SHORT, 3), struct.pack("<HHI", 258, 99, 3))
    assert "(tag 258 of its header cannot be read)" in refused(tmp_path, broken)


@pytest.mark.parametrize("tag", [256, 322])
def test_a_tiff_that_claims_gigabytes_is_refused_before_it_is_decoded(
    tmp_path: Path, tag: int
) -> None:
    content = tiff(noise(16, 16, 1), Tiff(bits=8, tile=16, compression=8))
    at = content.index(struct.pack("<HHII", tag, 4, 1, 16))
    claimed = content[: at + 8] + struct.pack("<I", 2**31) + content[at + 12 :]
    assert f"claims 16 x {2**31}" in refused(tmp_path, claimed)
