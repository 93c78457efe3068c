"""PNG files as bytes, of any colour type, depth and interlacing, from nothing but an array."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.tiff_bytes import packed

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
STORED = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}  # samples of a pixel
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16)}
DEPTHS[RGB_ALPHA] = DEPTHS[RGB]
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
ADAM7 = (*PASSES, (1, 0, 2, 1))  # first row and column, steps from row to row, column to column

Chunks = Sequence[tuple[bytes, bytes]]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples_HWC: NDArray[Any],
    colour: int,
    bits: int,
    *,
    interlaced: bool = False,
    palette: NDArray[Any] | None = None,
    beside: Chunks = (),
) -> bytes:
    """``beside``: chunks between the palette and the pixels."""
    height, width = samples_HWC.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header)]
    if palette is not None:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(_rows(samples_HWC[r::down, c::right], bits) for r, c, down, right in passes)
    chunks += [*beside, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)


def _rows(samples_HWC: NDArray[Any], bits: int) -> bytes:
    """Rows of one pass, each behind the number of its filter; a pass without a pixel has none."""
    if not samples_HWC.size:
        return b""
    return b"".join(_filtered(samples_HWC, bits))


def _filtered(samples_HWC: NDArray[Any], bits: int) -> Iterator[bytes]:
    """Filters none and up by turns."""
    above = b""
    for number, row_WC in enumerate(samples_HWC):
        flat = row_WC.reshape(1, -1)
        row = flat.astype(">u2").tobytes() if bits == 16 else packed(flat.astype(np.uint8), bits)
        if number % 2:
            difference = np.frombuffer(row, np.uint8) - np.frombuffer(above, np.uint8)
            yield b"\2" + difference.tobytes()
        else:
            yield b"\0" + row
        above = row
