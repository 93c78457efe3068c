"""JPEG files: the header, then the pixels, which are near those that were saved, not equal to them.

Source: ITU T.81, annex B; EXIF 2.3, section 4.
"""

import struct
from typing import Any

import imagecodecs
from numpy.typing import NDArray

from brainseg.data.readers.picture import LOSSY, Picture, require_size, require_upright
from brainseg.data.readers.problems import Problem, Refused
from brainseg.data.readers.tiff import exif_orientation

SIGNATURE = b"\xff\xd8\xff"
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
BARE = (0x01, *range(0xD0, 0xD9))  # markers without a body
EXIF, SCAN, END = 0xE1, 0xDA, b"\xff\xd9"


def read_jpeg(content: bytes, name: str) -> Picture:
    """Raises Refused, under ``name``, by what the picture is; ValueError for a damaged file."""
    height, width, channels, orientation, pixels = _header(name, content)
    require_size(name, height, width)
    require_upright(name, "JPEG", orientation)
    if END not in content[pixels:]:  # the decoder fills what is missing with grey
        raise ValueError("it is cut short")
    samples: NDArray[Any] = imagecodecs.jpeg8_decode(content)
    if samples.size != height * width * channels or samples.itemsize != 1:
        raise ValueError(f"it holds {samples.shape} {samples.dtype}, not what its header says")
    return Picture(samples.reshape(height, width, channels), frozenset({LOSSY}))


def _header(name: str, content: bytes) -> tuple[int, int, int, object, int]:
    """Height, width, channels, orientation, and where the pixels start."""
    frame: tuple[int, int, int] | None = None
    orientation: object = 1
    at = 2
    while at + 4 <= len(content):
        mark, kind, length = struct.unpack_from(">BBH", content, at)
        if mark != 0xFF:
            break
        if kind == 0xFF or kind in BARE:  # padding, or no length follows
            at += 1 if kind == 0xFF else 2
            continue
        body = content[at + 4 : at + 2 + length]
        if kind == SCAN and frame:
            return (*frame, orientation, at)
        if kind in (*FRAMES, *OTHER_FRAMES):
            frame = _frame(name, kind, body)
        elif kind == EXIF and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body[6:])
        at += 2 + length
    raise ValueError("it is cut short")


def _frame(name: str, kind: int, body: bytes) -> tuple[int, int, int]:
    bits, height, width, channels = struct.unpack_from(">BHHB", body)
    if kind in FRAMES and bits == 8 and channels in (1, 3):
        return height, width, channels
    rule = "a JPEG file must hold grey or colour of 8 bits"
    if channels == 4:
        fault = "holds CMYK"
    elif kind in FRAMES:
        fault = f"holds {channels} channels of {bits} bits"
    else:
        fault = "is lossless or hierarchical JPEG"
    raise Refused(Problem(name, rule, fault, "save it as PNG"))
