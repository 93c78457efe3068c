"""PNG files: chunks checked and held against the header, then decoded by libpng.

A palette stands for its colours. A transparent colour (chunk tRNS) and corrections for display are
passed over: they are no samples. Source: PNG specification, third edition, chapters 5 and 11.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from brainseg.data.readers.picture import (
    ALPHA,
    NARROW,
    TRANSPARENT,
    Picture,
    of_palette,
    require_one_slice,
    require_size,
    require_upright,
)
from brainseg.data.readers.tiff import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # that libpng makes of each colour type
BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
GREY, PALETTE, WITH_ALPHA = 0, 3, (4, 6)


@dataclass(frozen=True)
class _Header:
    height: int
    width: int
    bits: int
    colour: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, CHANNELS[self.colour]


def read_png(content: bytes, name: str) -> Picture:
    """Raises Refused, under ``name``, by what the picture is; ValueError for a damaged file."""
    header: _Header | None = None
    needed, beside = [SIGNATURE], {}
    for kind, body, chunk in _chunks(content):
        header = header or _header(name, kind, body)
        if kind[0] & 32:  # a small first letter: a chunk that can be done without
            beside[kind] = body
        elif zlib.crc32(kind + body) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')} is wrong")
        else:
            needed.append(chunk)
    assert header is not None  # _chunks yields at least one, or raises
    frames = int.from_bytes(beside.get(b"acTL", b"\0\0\0\1")[:4], "big")
    require_one_slice(name, "PNG", f"{frames} frames" if frames > 1 else "")
    require_upright(name, "PNG", exif_orientation(beside.get(b"eXIf", b"")))
    held = {
        ALPHA: header.colour in WITH_ALPHA,
        NARROW: header.colour == GREY and header.bits < 8,
        TRANSPARENT: b"tRNS" in beside,
    }
    traits = frozenset(trait for trait, holds in held.items() if holds)
    if header.colour == PALETTE:
        numbered, colours_N3 = _numbered(needed)
        return of_palette(_decoded(numbered, header)[..., 0], colours_N3, traits)
    return Picture(_decoded(b"".join(needed), header), traits)


def _numbered(chunks: list[bytes]) -> tuple[bytes, NDArray[np.uint8]]:
    """The file with a palette in which each colour is its own place, and its true colours."""
    palettes = [place for place, chunk in enumerate(chunks) if chunk[4:8] == b"PLTE"]
    if len(palettes) != 1:
        raise ValueError(f"it holds {len(palettes)} palettes")
    colours = np.frombuffer(chunks[palettes[0]][8:-4], np.uint8)
    if not 0 < colours.size <= 3 * 256 or colours.size % 3:
        raise ValueError(f"its palette has {colours.size} numbers")
    body = b"PLTE" + np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    places = struct.pack(">I", 3 * 256) + body + struct.pack(">I", zlib.crc32(body))
    numbered = [places if place == palettes[0] else chunk for place, chunk in enumerate(chunks)]
    return b"".join(numbered), colours.reshape(-1, 3)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and all bytes of each chunk, up to IEND."""
    at = len(SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            break
        yield kind, content[at + 8 : end - 4], content[at:end]
        if kind == b"IEND":
            return
        at = end
    raise ValueError("it is cut short")


def _header(name: str, kind: bytes, body: bytes) -> _Header:
    if kind != b"IHDR" or len(body) != 13:
        raise ValueError("it has no header")
    width, height, bits, colour = struct.unpack_from(">IIBB", body)
    if bits not in BITS.get(colour, ()):
        raise ValueError(f"it claims colour type {colour} of {bits} bits")
    require_size(name, height, width)
    return _Header(height, width, bits, colour)


def _decoded(content: bytes, header: _Header) -> NDArray[Any]:
    """The samples; libpng spreads grey of fewer than 8 bits over 0 to 255, which is undone."""
    samples: NDArray[Any] = imagecodecs.png_decode(content)
    if samples.size != np.prod(header.shape) or samples.itemsize != max(header.bits // 8, 1):
        raise ValueError(f"it holds {samples.shape} {samples.dtype}, not what its header says")
    if header.colour == GREY and header.bits < 8:
        samples = samples // (255 // (2**header.bits - 1))
    return samples.reshape(header.shape)
