"""A picture is known by its content; whatever its bytes are, it is an array or refused."""

import logging
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from brainseg.data.readers.images import read_image
from brainseg.data.readers.problems import Refused
from tests.support.png_bytes import GREY, PALETTE, RGB, png
from tests.support.scans import noise, refused_reading
from tests.support.tiff_bytes import COMPRESSORS, SHORT, Tiff, tiff


def saved(mode: str, form: str, **how: object) -> bytes:
    stored = BytesIO()
    Image.fromarray(noise(20, 24, 3)).convert(mode).save(stored, form, **how)
    return stored.getvalue()


def of_tifffile(**how: object) -> bytes:
    stored = BytesIO()
    tifffile.imwrite(stored, noise(20, 24, dtype=np.float32), **how)
    return stored.getvalue()


COLOUR = noise(20, 24, 3)
WHOLE = {  # of every decoder at least one
    **{
        f"TIFF {code}": tiff(COLOUR, Tiff(bits=8, photometric=2, compression=code, rows=7))
        for code in COMPRESSORS
    },
    "TIFF header first": tiff(COLOUR, Tiff(bits=8, photometric=2, header_first=True)),
    "TIFF planes": tiff(COLOUR, Tiff(bits=8, photometric=2, planar=2, order=">", tile=16)),
    "BigTIFF": tiff(COLOUR, Tiff(bits=8, photometric=2, big=True, predictor=2, compression=5)),
    "TIFF packed": tiff(COLOUR[..., :1] // 16, Tiff(bits=4, compression=8, fill_order=2)),
    "TIFF palette": tiff(
        COLOUR[..., :1], Tiff(bits=8, photometric=3, tags={320: (SHORT, [*range(768)])})
    ),
    "TIFF group 4": saved("1", "TIFF", compression="group4"),
    "TIFF JPEG": saved("RGB", "TIFF", compression="jpeg"),
    "TIFF float predictor": of_tifffile(compression="zlib", predictor=True),
    "TIFF ImageJ": of_tifffile(imagej=True),
    "PNG": png(COLOUR, RGB, 8),
    "PNG palette": png(COLOUR[..., :1] // 16, PALETTE, 4, palette=noise(16, 3)),
    "PNG interlaced": png(COLOUR[..., :1], GREY, 8, interlaced=True),
    "JPEG": saved("RGB", "JPEG"),
    "JPEG progressive": saved("L", "JPEG", progressive=True),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_picture_is_known_by_its_content_not_by_its_name(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(WHOLE[kind])
    assert read_image(tmp_path, f"a{suffix}").shape[:2] == (20, 24)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file cut anywhere, or with up to 8 other bytes."""
    content = bytearray(WHOLE[draw(st.sampled_from(list(WHOLE)))])
    if draw(st.booleans()):
        return bytes(content[: draw(st.integers(0, len(content) - 1))])
    for _ in range(draw(st.integers(1, 8))):
        end = draw(st.sampled_from((40, 400, len(content))))  # headers are small
        place = draw(st.integers(0, min(end, len(content)) - 1))
        content[place if draw(st.booleans()) else -place - 1] = draw(st.integers(0, 255))
    return bytes(content)


@given(damaged())
@settings(max_examples=600, deadline=None, derandomize=True, database=None)
def test_a_damaged_picture_is_an_array_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    tmp_path = tmp_path_factory.getbasetemp()
    (tmp_path / "a.tif").write_bytes(content)
    try:
        assert read_image(tmp_path, "a.tif").ndim == 3
    except Refused as refusal:
        assert refusal.problem.file == "a.tif"


@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_cut_short_is_refused_wherever_it_was_cut(tmp_path: Path, kind: str) -> None:
    content = WHOLE[kind]
    end = len(content) - (4 if kind == "PNG" else 1)
    for length in {*range(0, end, max(end // 25, 1)), end}:
        (tmp_path / "a.png").write_bytes(content[:length])
        with pytest.raises(Refused):
            read_image(tmp_path, "a.png")


def test_no_decoder_writes_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for content in WHOLE.values():
        for place in range(0, len(content), 97):
            spoiled = content[:place] + b"\xff" + content[place + 1 :]
            (tmp_path / "a.png").write_bytes(spoiled)
            try:
                read_image(tmp_path, "a.png")
            except Refused:
                continue
    assert capfd.readouterr() == ("", "")
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"GIF89a" + bytes(20), "is a GIF file; save it as PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "is a WebP file; save it as PNG"),
        (bytes(128) + b"DICM", "is a DICOM file; save it as PNG"),
        (b"\x1f\x8b\x08" + bytes(20), "is a gzip file; save it as PNG"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "only says where the picture is; fetch it (git lfs pull, datalad get)",
        ),
    ],
)
def test_another_format_under_a_pictures_name_is_refused_by_its_own(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert refused_reading(read_image, tmp_path, "a.tif") == (
        f"a picture must be a PNG, TIFF or JPEG file, a.tif {fault}"
    )
