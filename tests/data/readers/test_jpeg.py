"""A JPEG file is read for an image, told as lossy, and refused for a mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainseg.data.readers.images import read_image, read_picture
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.picture import LOSSY
from tests.support.scans import blob, refused_reading

SMOOTH = np.add.outer(np.arange(60, dtype=np.uint8), np.arange(80, dtype=np.uint8))
COLOURED = np.stack([SMOOTH, 255 - SMOOTH, SMOOTH // 2], axis=2)


@pytest.mark.parametrize("pixels", [SMOOTH, COLOURED], ids=["grey", "colour"])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 2}])
@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG", "a.tif"])
def test_a_jpeg_is_near_what_was_saved_and_told_as_lossy(
    tmp_path: Path, pixels: np.ndarray, how: dict[str, Any], name: str
) -> None:
    Image.fromarray(pixels).save(tmp_path / name, "JPEG", quality=90, **how)
    picture = read_picture(tmp_path, name)
    assert picture.traits == {LOSSY}
    difference = picture.samples_HWC.astype(int) - pixels.reshape(60, 80, -1)
    assert np.abs(difference).mean() < 2


def test_a_mask_in_jpeg_is_refused_with_the_rule_and_the_remedy(tmp_path: Path) -> None:
    Image.fromarray(blob()).save(tmp_path / "m.jpg")
    assert refused_reading(read_mask, tmp_path, "m.jpg") == (
        "a mask must be stored without loss, m.jpg is compressed with JPEG, which blurs its edge; "
        "export it again, as PNG, from where it was drawn"
    )


def test_a_jpeg_that_asks_to_be_rotated_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    for orientation in (1, 6):
        exif[274] = orientation
        Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", exif=exif)
        if orientation == 1:
            assert read_image(tmp_path, "a.jpg").shape == (60, 80, 1)
    assert refused_reading(read_image, tmp_path, "a.jpg") == (
        "a JPEG file must be stored upright, a.jpg asks to be rotated (tag 274); "
        "save it the way it should be shown"
    )


def test_cmyk_is_refused_by_its_name(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "a.jpg")
    assert refused_reading(read_image, tmp_path, "a.jpg") == (
        "a JPEG file must hold grey or colour of 8 bits, a.jpg holds CMYK; save it as PNG"
    )


def test_a_jpeg_that_claims_gigapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content.replace(b"\x08\0\x3c\0\x50", b"\x08\xff\xff\xff\xff"))
    assert "a.jpg claims 65535 x 65535" in refused_reading(read_image, tmp_path, "a.jpg")
