"""TIFF files: what the header promises, checked, then the samples as they are written.

    taken     whole numbers of 1 to 16, 32 and 64 bits, signed ones and floats of whole bytes,
              1 to 4 of them a pixel, side by side or in planes, in strips or tiles, either byte
              order, BigTIFF, uncompressed or compressed without loss
    changed   white is zero: turned, so that bright is high; a palette: its colours; floats of 16
              bits: the same numbers in 32; JPEG in TIFF: as decoded
    refused   several pages, planes of depth or stacks, reduced copies beside the picture, pixels
              stored rotated, complex numbers, CMYK, YCbCr (but for JPEG) and Lab colours

Sources: TIFF 6.0; BigTIFF; Adobe's technical notes 1 (SubIFDs) and 3 (floats).
"""

import logging
import math
import struct
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, TiffFile, TiffPage

from brainseg.data.readers.picture import (
    ALPHA,
    LOSSY,
    NARROW,
    Picture,
    of_palette,
    require_channels,
    require_one_slice,
    require_size,
    require_upright,
)
from brainseg.data.readers.problems import Problem, Refused

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
OTHER_COLOURS = {4: "a transparency mask", 5: "CMYK", YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab"}
UNCOMPRESSED, JPEG = 1, 7
PREDICTED = (5, 8, 32946, 34925, 50000)  # LZW, deflate, LZMA, Zstandard: tag 317 applies to them
LOSSLESS = (UNCOMPRESSED, 2, 3, 4, 32773, *PREDICTED)
BITS = {1: (*range(1, 17), 32, 64), 2: (8, 16, 32, 64), 3: (16, 32, 64)}  # of numbers by tag 339
NUMBERS = {1: "whole numbers", 2: "signed whole numbers", 3: "floats"}  # by tag 339
OTHER_NUMBERS = {4: "numbers of no stated kind", 5: "complex numbers", 6: "complex numbers"}
_LAYOUT = "254 256 257 258 259 266 273 274 277 278 279 284 317 322 323 324 325 330 347 32997"
NEEDED = frozenset(map(int, f"{_LAYOUT} 262 320 338 339".split()))  # else read otherwise
SLACK = 64  # bytes beyond twice what a small picture needs
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of alpha, by tag 338

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it comments on every oddity


def read_tiff(content: BinaryIO, name: str, size: int) -> Picture:
    """Raises Refused, under ``name``, by what the picture is; whatever tifffile does for damage."""
    with TiffFile(content) as file:
        page = file.pages.first
        _require_one_upright_slice(file, page, name)
        _require_samples(page, name)
        _require_whole(page, size)
        samples_HWC = _meaning(page, page.asarray(maxworkers=1))
        if page.photometric == PALETTE:
            return of_palette(samples_HWC[..., 0], _palette(page), _traits(page))
        return Picture(samples_HWC, _traits(page))


def exif_orientation(content: bytes) -> object:
    """Tag 274 of EXIF's fields, which are laid out as a TIFF file without pixels; 1 if unknown."""
    try:
        with TiffFile(BytesIO(content)) as file:
            return file.pages.first.tags.valueof(274, default=1)
    except Exception:  # comments on a picture, whose damage harms no pixel
        return 1


def _require_one_upright_slice(file: TiffFile, page: TiffPage, name: str) -> None:
    tags, following = _directory(file, page)
    lost = sorted((tags & NEEDED) - set(page.tags.keys()))
    if lost:
        raise ValueError(f"tag {lost[0]} of its header cannot be read")
    for tag in (266, 284):  # fill order and planes: any other number would be read as one of these
        if page.tags.valueof(tag, default=1) not in (1, 2):
            raise ValueError(f"tag {tag} of its header is {page.tags.valueof(tag)}, not 1 or 2")
    require_size(name, page.imagelength, page.imagewidth)
    require_size(name, max(page.tilelength, 1), max(page.tilewidth, 1))
    require_one_slice(name, "TIFF", "several pages" if following else _beside(file, page))
    require_upright(name, "TIFF", page.tags.valueof(274, default=1))


def _directory(file: TiffFile, page: TiffPage) -> tuple[frozenset[int], int]:
    """The numbers of all tags, also of those that tifffile cannot read; where the next page is."""
    form = file.tiff
    file.filehandle.seek(page.offset)
    (count,) = struct.unpack(form.tagnoformat, file.filehandle.read(form.tagnosize))
    entries = file.filehandle.read(count * form.tagsize)
    (following,) = struct.unpack(form.offsetformat, file.filehandle.read(form.offsetsize))
    codes = struct.iter_unpack(f"{form.byteorder}H{form.tagsize - 2}x", entries)
    return frozenset(code for (code,) in codes), following


def _beside(file: TiffFile, page: TiffPage) -> str:
    """What one page holds beside a slice, as some programs write it; "" for nothing."""
    if 330 in page.tags:
        return "reduced copies or other pictures (tag 330)"
    if page.is_stk or page.imagedepth != 1 or page.is_lsm:
        return "a stack of slices"
    slices = 1
    if page.is_imagej:
        slices = int((file.imagej_metadata or {}).get("images", 1))
    elif page.is_shaped:
        shape = (file.shaped_metadata or ({},))[0].get("shape", page.shape)
        slices = math.prod(shape) // math.prod(page.shape)
    return f"{slices} slices" if slices > 1 else ""


def _require_samples(page: TiffPage, name: str) -> None:
    """Refuse, by name, samples and colours that are not taken."""
    require_channels(name, page.samplesperpixel)
    rule, fault, remedy = "", "", "convert it to grey or RGB"
    jpeg = page.compression == JPEG
    if 262 not in page.tags:
        rule, fault = "a TIFF file must say what its samples mean (tag 262)", "does not"
    elif not (page.photometric <= PALETTE or (page.photometric == YCBCR and jpeg)):
        rule = "a TIFF file must hold grey levels, RGB or a palette"
        number = int(page.photometric)
        fault = f"holds {OTHER_COLOURS.get(number, f'colours of kind {number} (tag 262)')}"
    elif page.photometric == PALETTE and page.samplesperpixel > 1:
        rule, fault = "a palette must have one sample a pixel", f"has {page.samplesperpixel}"
    elif page.photometric in (RGB, YCBCR) and page.samplesperpixel < 3:
        rule, fault = "RGB must have three samples a pixel", f"has {page.samplesperpixel}"
    elif page.bitspersample not in BITS.get(page.sampleformat, ()):
        rule, fault = "a TIFF file must hold whole numbers or floats", f"holds {_numbers(page)}"
        remedy = "convert it to 8 or 16 bits, or to floats of 32"
    elif page.compression not in LOSSLESS and not jpeg:
        rule = "a TIFF file must be compressed with LZW, deflate or another in docs/data.md"
        fault = f"is {_compression(page)}"
        remedy = "save it uncompressed, or with LZW"
    elif not _predictable(page):
        rule = "differences (tag 317) must be of whole bytes, in LZW, deflate, LZMA or Zstandard"
        fault = f"holds kind {page.predictor} of {_numbers(page)}, {_compression(page)}"
        remedy = "save it with LZW, or without differences"
    elif page.photometric == WHITE_IS_ZERO and page.sampleformat == 3:
        rule, fault = "white is zero must be of whole numbers", "holds floats"
        remedy = "save it with black as zero"
    if rule:
        raise Refused(Problem(name, rule, fault, remedy))


def _numbers(page: TiffPage) -> str:
    bits: object = page.bitspersample
    if isinstance(bits, tuple):
        return f"samples of {', '.join(map(str, bits))} bits"
    kind = (NUMBERS | OTHER_NUMBERS).get(page.sampleformat, f"kind {page.sampleformat} (tag 339)")
    return f"{kind} of {bits} bits"


def _predictable(page: TiffPage) -> bool:
    """Whether pixels are stored as they are, or as differences that readers understand alike."""
    if page.predictor == 1:
        return True
    kinds = (2, 3) if page.sampleformat == 3 else (2,)
    return (
        page.predictor in kinds
        and page.compression in PREDICTED
        and page.bitspersample in (8, 16, 32, 64)
    )


def _compression(page: TiffPage) -> str:
    if page.compression == UNCOMPRESSED:
        return "uncompressed"
    try:
        return f"compressed with {COMPRESSION(page.compression).name}"
    except ValueError:
        return f"compressed in way {page.compression} (tag 259)"


def _require_whole(page: TiffPage, size: int) -> None:
    """ValueError where a strip or tile is missing or cut short: it would be read as 0."""
    pieces = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(pieces) != math.prod(page.chunked):
        raise ValueError(f"it has {len(pieces)} of {math.prod(page.chunked)} strips or tiles")
    for number, (start, length) in enumerate(pieces):
        if start < 8 or length < 1 or start + length > size:
            raise ValueError(f"strip or tile {number} is missing or cut short")
    if page.compression == UNCOMPRESSED and not page.is_tiled:
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        row_bits = page.imagewidth * page.bitspersample * (page.samplesperpixel // planes)
        expected = planes * page.imagelength * math.ceil(row_bits / 8)
        held = sum(length for _, length in pieces)
        if not expected <= held <= 2 * expected + SLACK:
            raise ValueError(f"it holds {held} of {expected} bytes")


def _meaning(page: TiffPage, samples: NDArray[Any]) -> NDArray[Any]:
    """The samples, shape (H, W, C), so that a higher number is brighter."""
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    if samples.size != height * width * channels or samples.dtype != page.dtype:
        raise ValueError(f"it holds {samples.shape} {samples.dtype}, not what its header says")
    if page.planarconfig == 2:
        samples_HWC = np.ascontiguousarray(
            samples.reshape(channels, height, width).transpose(1, 2, 0)
        )
    else:
        samples_HWC = samples.reshape(height, width, channels)
    if samples.dtype.kind == "b":
        samples_HWC = samples_HWC.astype(np.uint8)
    elif samples.dtype == np.float16:  # the same numbers, in a type that all can work with
        samples_HWC = samples_HWC.astype(np.float32)
    if page.photometric == WHITE_IS_ZERO:  # only grey: what is beside it has no white
        grey_HW = samples_HWC[..., 0]
        top = 2**page.bitspersample - 1 if samples_HWC.dtype.kind == "u" else -1
        np.subtract(samples_HWC.dtype.type(top), grey_HW, out=grey_HW)
    return samples_HWC


def _palette(page: TiffPage) -> NDArray[Any]:
    """Its colours, shape (N, 3): in 8 bits where it was made of 8 bits, else in its own 16."""
    colours = np.asarray(page.colormap)
    if colours.shape != (3, 2**page.bitspersample) or page.sampleformat != 1:
        raise ValueError(f"its palette has {colours.size} numbers")
    if not (colours % 257).any() or not (colours % 256).any():
        colours = (colours >> 8).astype(np.uint8)
    return colours.T


def _traits(page: TiffPage) -> frozenset[str]:
    held = {
        ALPHA: bool({ASSOCIATED, UNASSOCIATED} & set(page.extrasamples)),
        LOSSY: page.compression == JPEG,
        NARROW: page.bitspersample < 8 and page.photometric != PALETTE,
    }
    return frozenset(trait for trait, holds in held.items() if holds)
