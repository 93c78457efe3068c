"""Any PNG file is returned as it was written, or refused by what it is."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from brainseg.data.readers.images import read_image, read_picture
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.picture import ALPHA, NARROW, TRANSPARENT
from tests.support.png_bytes import (
    DEPTHS,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    STORED,
    Chunks,
    chunk,
    png,
)
from tests.support.scans import blob, noise, refused_reading

DISPLAY = (  # how to show the samples, which changes none of them
    (b"gAMA", struct.pack(">I", 45455)),
    (b"sBIT", b"\1"),
    (b"pHYs", struct.pack(">IIB", 3780, 3780, 1)),
    (b"tEXt", b"Comment\0made up"),
)


def refused(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "a.png").write_bytes(content)
    return refused_reading(read_image, tmp_path, "a.png")


@st.composite
def pngs(draw: st.DrawFn) -> tuple[NDArray[Any], int, int, bool, Chunks]:
    colour = draw(st.sampled_from(list(STORED)))
    bits = draw(st.sampled_from(DEPTHS[colour]))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40)), STORED[colour]
    samples_HWC = noise(*shape, dtype=np.uint16) >> (16 - bits)
    beside = draw(st.lists(st.sampled_from(DISPLAY), unique=True))
    if colour in (GREY, RGB, PALETTE) and draw(st.booleans()):
        beside.append((b"tRNS", bytes({GREY: 2, RGB: 6, PALETTE: 1}[colour])))
    return samples_HWC, colour, bits, draw(st.booleans()), beside


@given(pngs())
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_any_png_is_returned_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[NDArray[Any], int, int, bool, Chunks],
) -> None:
    samples_HWC, colour, bits, interlaced, beside = drawn
    palette = noise(2**bits, 3) if colour == PALETTE else None
    content = png(samples_HWC, colour, bits, interlaced=interlaced, palette=palette, beside=beside)
    tmp_path = tmp_path_factory.getbasetemp()
    (tmp_path / "a.png").write_bytes(content)
    picture = read_picture(tmp_path, "a.png")
    expected = samples_HWC if palette is None else palette[samples_HWC[..., 0]]
    assert np.array_equal(picture.samples_HWC, expected)
    assert picture.samples_HWC.dtype == (np.uint16 if bits == 16 else np.uint8)
    traits = {
        ALPHA: colour in (GREY_ALPHA, RGB_ALPHA),
        NARROW: colour == GREY and bits < 8,
        TRANSPARENT: b"tRNS" in dict(beside),
    }
    assert picture.traits == {trait for trait, holds in traits.items() if holds}


def test_several_frames_are_refused_and_one_is_not(tmp_path: Path) -> None:
    for frames in (1, 3):
        animated = ((b"acTL", struct.pack(">II", frames, 0)),)
        content = png(noise(7, 9, 1), GREY, 8, beside=animated)
        (tmp_path / "a.png").write_bytes(content)
        if frames == 1:
            assert read_image(tmp_path, "a.png").shape == (7, 9, 1)
    assert refused(tmp_path, content) == (
        "a PNG file must hold one slice, a.png holds 3 frames; save each slice as a file"
    )


def test_a_picture_that_asks_to_be_rotated_is_refused(tmp_path: Path) -> None:
    orientation = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    content = png(noise(7, 9, 1), GREY, 8, beside=((b"eXIf", orientation),))
    assert refused(tmp_path, content) == (
        "a PNG file must be stored upright, a.png asks to be rotated (tag 274); "
        "save it the way it should be shown"
    )


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"IEND"])
def test_a_wrong_checksum_is_refused_with_the_chunk(tmp_path: Path, kind: bytes) -> None:
    content = bytearray(png(noise(7, 9, 1) // 128, PALETTE, 1, palette=noise(2, 3)))
    start = content.index(kind)
    (length,) = struct.unpack_from(">I", content, start - 4)
    content[start + 4 + length] ^= 1
    assert refused(tmp_path, bytes(content)) == (
        "every image and mask must be readable, a.png cannot be decoded (the checksum of its "
        f"chunk {kind.decode()} is wrong); restore it, or remove the slice"
    )


def test_rows_that_are_missing_are_not_read_as_zeros(tmp_path: Path) -> None:
    content = png(noise(40, 50, 1), GREY, 8)
    for pixels in (b"", zlib.compress(bytes(51 * 39)), zlib.compress(bytes(51 * 40))[:-6]):
        start = content.index(b"IDAT") - 4
        short = content[:start] + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        assert "a.png cannot be decoded" in refused(tmp_path, short)


def test_a_transparent_colour_does_not_make_a_mask_coloured(tmp_path: Path) -> None:
    content = png(blob(top=1)[..., None], GREY, 1, beside=((b"tRNS", bytes(2)),))
    (tmp_path / "m.png").write_bytes(content)
    assert np.array_equal(read_mask(tmp_path, "m.png"), blob(top=1))


@pytest.mark.parametrize(
    ("palette", "why"),
    [
        (noise(4, 3), "a pixel has colour 9 of a palette of 4"),
        (None, "it holds 0 palettes"),
        (noise(1, 2), "its palette has 2 numbers"),
    ],
)
def test_a_pixel_without_a_colour_is_refused(
    tmp_path: Path, palette: NDArray[Any] | None, why: str
) -> None:
    samples_HW1 = np.zeros((7, 9, 1), np.uint8)
    samples_HW1[2, 3] = 9
    (tmp_path / "a.png").write_bytes(png(samples_HW1, PALETTE, 4, palette=palette))
    assert why in refused_reading(read_image, tmp_path, "a.png")
