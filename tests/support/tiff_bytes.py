"""TIFF files as bytes, of any legal combination of fields, from nothing but an array."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

COMPRESSORS = {
    1: bytes,
    5: imagecodecs.lzw_encode,
    8: zlib.compress,
    32946: zlib.compress,
    32773: imagecodecs.packbits_encode,
    34925: imagecodecs.lzma_encode,
    50000: imagecodecs.zstd_encode,
}
NUMBERS = {"u": 1, "i": 2, "f": 3, "c": 6}  # by tag 339
SHORT, LONG, LONG8 = 3, 4, 16
FORM = {SHORT: "H", LONG: "I", LONG8: "Q"}
OF_COLOUR = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}  # samples that photometric gives a meaning
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Tags = Mapping[int, tuple[int, list[int]]]


@dataclass(frozen=True)
class Tiff:
    """How an array is written; ``bits`` below the array's own are packed."""

    bits: int
    photometric: int = 1
    planar: int = 1  # 2: one plane after the other
    order: str = "<"
    big: bool = False
    compression: int = 1
    predictor: int = 1  # 2: differences along a row
    fill_order: int = 1  # 2: the lowest bit of each byte first
    rows: int = 0  # of a strip; 0: all
    tile: int = 0  # its side; 0: strips
    extra: int = 0  # kind of each sample beside the colours
    header_first: bool = False  # the directory before the pixels
    tags: Tags = field(default_factory=dict)  # more, or others
    without: tuple[int, ...] = ()


def tiff(image_HWC: NDArray[Any], how: Tiff) -> bytes:
    blocks = [_stored(block_HWC, how) for block_HWC in _blocks(image_HWC, how)]
    tags = _tags(image_HWC, how)
    where, lengths = (324, 325) if how.tile else (273, 279)
    kind = LONG8 if how.big else LONG
    tags[lengths] = (kind, [len(block) for block in blocks])
    tags[where] = (kind, [0] * len(blocks))
    tags = {tag: tags[tag] for tag in sorted(tags) if tag not in how.without}
    start = 16 if how.big else 8
    room = len(_directory(tags, 0, how)) if how.header_first else 0
    offsets = [start + room + sum(map(len, blocks[:n])) for n in range(len(blocks))]
    tags[where] = (kind, offsets)
    pixels = b"".join(blocks)
    at = start if how.header_first else start + len(pixels)
    directory = _directory(tags, at, how)
    mark = b"II" if how.order == "<" else b"MM"
    if how.big:
        head = mark + struct.pack(how.order + "HHHQ", 43, 8, 0, at)
    else:
        head = mark + struct.pack(how.order + "HI", 42, at)
    return head + (directory + pixels if how.header_first else pixels + directory)


def _blocks(image_HWC: NDArray[Any], how: Tiff) -> Iterator[NDArray[Any]]:
    """Strips, or tiles filled up with 0, of all samples or of one plane after the other."""
    height, width, channels = image_HWC.shape
    planes = [image_HWC[..., [c]] for c in range(channels)] if how.planar == 2 else [image_HWC]
    for plane_HWC in planes:
        if not how.tile:
            step = how.rows or height
            yield from (plane_HWC[top : top + step] for top in range(0, height, step))
            continue
        for top in range(0, height, how.tile):
            for left in range(0, width, how.tile):
                part = plane_HWC[top : top + how.tile, left : left + how.tile]
                fill = [(0, how.tile - part.shape[0]), (0, how.tile - part.shape[1]), (0, 0)]
                yield np.pad(part, fill)


def _stored(block_HWC: NDArray[Any], how: Tiff) -> bytes:
    if how.predictor == 2:
        unsigned = np.ascontiguousarray(block_HWC).view(f"u{block_HWC.itemsize}")
        block_HWC = np.diff(unsigned, axis=1, prepend=unsigned[:, :1] * 0)
    if how.bits < 8 * block_HWC.itemsize:
        raw = packed(block_HWC.reshape(len(block_HWC), -1), how.bits)
    else:
        raw = block_HWC.astype(block_HWC.dtype.newbyteorder(how.order)).tobytes()
    stored: bytes = COMPRESSORS[how.compression](raw)
    return stored.translate(REVERSED) if how.fill_order == 2 else stored


def packed(rows_HN: NDArray[Any], bits: int) -> bytes:
    """Numbers below 2 ** bits, the highest bit first; each row begins with a byte of its own."""
    places = np.arange(bits)[::-1]
    bits_HN = (rows_HN[..., None] >> places.astype(rows_HN.dtype)) & 1
    return np.packbits(bits_HN.reshape(len(rows_HN), -1).astype(bool), axis=1).tobytes()


def _tags(image_HWC: NDArray[Any], how: Tiff) -> dict[int, tuple[int, list[int]]]:
    height, width, channels = image_HWC.shape
    tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [how.bits] * channels),
        259: (SHORT, [how.compression]),
        262: (SHORT, [how.photometric]),
        266: (SHORT, [how.fill_order]),
        277: (SHORT, [channels]),
        284: (SHORT, [how.planar]),
        317: (SHORT, [how.predictor]),
        339: (SHORT, [NUMBERS[image_HWC.dtype.kind]] * channels),
    }
    if how.tile:
        tags |= {322: (LONG, [how.tile]), 323: (LONG, [how.tile])}
    else:
        tags[278] = (LONG, [how.rows or height])
    beside = channels - OF_COLOUR[how.photometric]
    if beside > 0:
        tags[338] = (SHORT, [how.extra] * beside)
    return tags | dict(how.tags)


def _directory(tags: Tags, at: int, how: Tiff) -> bytes:
    """The tags, and after them what does not fit into their entries."""
    count, entry, offset, room = ("Q", "HHQ", "Q", 8) if how.big else ("H", "HHI", "I", 4)
    size = struct.calcsize("<" + count) + len(tags) * (struct.calcsize("<" + entry) + room) + room
    table, beyond = struct.pack(how.order + count, len(tags)), b""
    for tag, (kind, values) in tags.items():
        raw = struct.pack(f"{how.order}{len(values)}{FORM[kind]}", *values)
        if len(raw) > room:
            place = struct.pack(how.order + offset, at + size + len(beyond))
            beyond += raw
        else:
            place = raw.ljust(room, b"\0")
        table += struct.pack(how.order + entry, tag, kind, len(values)) + place
    return table + bytes(room) + beyond
