"""The header of a PNG or TIFF file, read before the file is decoded.

A file of a few kilobytes may claim a picture of gigabytes, hold more pages than a decoder shows,
or ask to be rotated: the header shows it.

Sources: PNG specification, third edition, chapter 11; TIFF 6.0, sections 2 and 8; BigTIFF.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

PNG = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # of each colour type; a palette is of colours
TIFF_ORDERS = {b"II": "<", b"MM": ">"}
TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
WIDTH, HEIGHT, ORIENTATION, SAMPLES = 256, 257, 274, 277
MOST_TAGS = 4096  # of one page


@dataclass(frozen=True)
class Header:
    height: int
    width: int
    samples: int  # of a pixel: 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha
    pages: int = 1  # 2 where there are more than one
    upright: bool = True  # the first row is the top one, the first column the left one
    tiff: bool = False


def read_header(path: Path) -> Header:
    """Raises ValueError for neither PNG nor TIFF, or a file cut short; OSError as ``open`` does."""
    with path.open("rb") as file:
        start = file.read(26)
        try:
            if start.startswith(PNG):
                width, height, _, colour = struct.unpack(">IIBB", start[16:26])
                return Header(height, width, PNG_SAMPLES[colour])
            return _tiff(file, start)
        except (struct.error, KeyError):
            raise ValueError("is not a complete PNG or TIFF file") from None


def _tiff(file: BinaryIO, start: bytes) -> Header:
    order = TIFF_ORDERS[start[:2]]
    (magic,) = struct.unpack(order + "H", start[2:4])
    big = {42: False, 43: True}[magic]
    count_form, entry_form, offset_form = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    (page,) = struct.unpack_from(order + offset_form, start, 8 if big else 4)
    file.seek(page)
    (count,) = _read(file, order + count_form)
    if count > MOST_TAGS:
        raise KeyError(count)
    values = {}
    for _ in range(count):
        tag, kind, _, value = _read(file, order + entry_form)
        if tag in (WIDTH, HEIGHT, ORIENTATION, SAMPLES):
            (values[tag],) = struct.unpack_from(order + TIFF_TYPES[kind], value)
    (following,) = _read(file, order + offset_form)
    return Header(
        height=values[HEIGHT],
        width=values[WIDTH],
        samples=values.get(SAMPLES, 1),
        pages=2 if following else 1,
        upright=values.get(ORIENTATION, 1) == 1,
        tiff=True,
    )


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))
