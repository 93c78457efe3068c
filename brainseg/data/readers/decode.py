"""A picture's samples, by a decoder that its first bytes choose, whatever its name ends in."""

import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from brainseg.data.readers import jpeg, png, tiff
from brainseg.data.readers.picture import Picture
from brainseg.data.readers.problems import Problem, Refused, unreadable

MOST_BYTES = 2**31
DECODERS = os.cpu_count() or 1  # threads that decode at once; more would wait for Python's lock
OTHERS = {  # first bytes of files that come under a picture's name
    b"GIF8": "a GIF file",
    b"BM": "a BMP file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
}
POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex", b".git/annex")


def decode(path: Path, name: str) -> Picture:
    """Raises Refused, under ``name``, whatever a decoder raises; MemoryError as it is."""
    try:
        with path.open("rb") as file:
            return _decode(file, name)
    except (Refused, MemoryError):
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(path, name, error) from None
    except Exception:  # of any kind: decoders meet bytes that no one foresaw
        raise unreadable(path, name, ValueError("its header is damaged")) from None


def _decode(file: BinaryIO, name: str) -> Picture:
    size, start = os.fstat(file.fileno()).st_size, file.read(132)
    file.seek(0)
    if size > MOST_BYTES:
        rule = f"a picture must take at most {MOST_BYTES // 2**30} GiB"
        fault, remedy = f"takes {size / 2**30:.1f}", "check the file, or cut it into parts"
        raise Refused(Problem(name, rule, fault, remedy))
    if start.startswith(tiff.SIGNATURES):
        return tiff.read_tiff(BytesIO(file.read()), name, size)
    if start.startswith(png.SIGNATURE):
        return png.read_png(file.read(), name)
    if start.startswith(jpeg.SIGNATURE):
        return jpeg.read_jpeg(file.read(), name)
    rule = "a picture must be a PNG, TIFF or JPEG file"
    if start.startswith(POINTERS):
        fault, remedy = "only says where the picture is", "fetch it (git lfs pull, datalad get)"
        raise Refused(Problem(name, rule, fault, remedy))
    if other := _other(start):
        raise Refused(Problem(name, rule, f"is {other}", "save it as PNG"))
    raise ValueError("it is not a PNG, TIFF or JPEG file")


def _other(start: bytes) -> str:
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP file"
    return next((kind for first, kind in OTHERS.items() if start.startswith(first)), "")
