"""Read one slice: an image in the file's own number type, or a mask of 0 and 1.

PNG and TIFF files hold one slice each; a NIfTI volume is cut (see data/readers/nifti.py). Names
joined by "|" are files of one channel each, which form one image.

Shapes: H rows, W columns, C channels.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainseg.data.readers import nifti
from brainseg.data.readers.headers import Header, read_header
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import Problem, Refused, unreadable

PICTURES = (".png", ".tif", ".tiff")
MOST_PIXELS = 2**26  # 8192 x 8192; a file of kilobytes can claim any number
MOST_CHANNELS = 4
SHOWN = 5  # values of a histogram


@contextmanager
def single_threaded() -> Iterator[None]:
    """Switch OpenCV's own threads off: slices are processed in threads of ours already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def read_image(root: Path, image: str, index: int = -1, axis: int = -1) -> NDArray[Any]:
    """Return image_HWC in the file's own type, channels in the order of the file (red first).

    ``index`` and ``axis`` say where a volume is cut.

    Raises:
        Refused: a file outside root, missing, damaged, too large, of several pages or stored
            rotated; other than 1 to 4 channels; channel files of different sizes; a number that
            is not finite.
    """
    channels = [_read(root, name, index, axis) for name in image.split(JOINT)]
    for name, other in zip(image.split(JOINT), channels, strict=True):
        if other.shape[:2] != channels[0].shape[:2]:
            rule = "the channels of an image must have the same size"
            fault = f"is {_size(other)} and {image.split(JOINT)[0]} is {_size(channels[0])}"
            raise Refused(Problem(name, rule, fault, "export all at one size"))
    image_HWC = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=2)
    _require_image(image, image_HWC)
    return image_HWC


def read_mask(root: Path, mask: str, index: int = -1, axis: int = -1) -> NDArray[np.uint8]:
    """Return mask_HW of 0 and 1.

    Raises:
        Refused: as for an image; or the file is coloured, holds anything but 0 and 1 or 0 and 255,
            or marks more than half of all pixels, as an inverted mask does.
    """
    mask_HW = _grey(mask, _read(root, mask, index, axis))
    top = mask_HW.max()
    tumour_HW: NDArray[np.bool_] = mask_HW != 0
    if top not in (0, 1, 255) or np.any(tumour_HW & (mask_HW != top)):
        rule = "a mask must hold 0 and 1, or 0 and 255, or only 0"
        fault = f"holds {_histogram(mask_HW)}"
        raise Refused(Problem(mask, rule, fault, "threshold it, or redraw it"))
    share = np.count_nonzero(tumour_HW) / tumour_HW.size
    if share > 0.5:
        rule = "a mask must mark the tumour, at most half of all pixels"
        fault = f"marks {share:.0%} and holds {_histogram(mask_HW)}"
        raise Refused(Problem(mask, rule, fault, "invert it if it marks the background"))
    return tumour_HW.astype(np.uint8)


def require_same_size(
    image: str, image_HWC: NDArray[Any], mask: str, mask_HW: NDArray[np.uint8]
) -> None:
    """Refuse a mask whose size differs from its image's; ``image`` and ``mask`` name the files."""
    if image_HWC.shape[:2] != mask_HW.shape:
        rule = "a mask must have the size of its image"
        sizes = f"is {_size(mask_HW)} and {image} is {_size(image_HWC)}"
        raise Refused(Problem(mask, rule, sizes, "export both at one size"))


def _read(root: Path, name: str, index: int, axis: int) -> NDArray[Any]:
    """One file's share of a slice, shape (H, W, C)."""
    path = confined(root, name)
    if not path.is_file():
        raise unreadable(path, name)
    if name.lower().endswith(nifti.SUFFIXES):
        return nifti.cut(path, name, index, axis)
    return _decode(path, name)


def _decode(path: Path, name: str) -> NDArray[Any]:
    """Decode a picture: the samples that its header declares, red before green before blue."""
    header = _header(path, name)
    try:
        pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
        if header.tiff and header.samples in (2, 4) and pixels is not None and pixels.itemsize == 1:
            with Image.open(path) as file:  # OpenCV multiplies by alpha, or drops it
                return np.asarray(file)
    except (cv2.error, OSError, ValueError):
        pixels = None
    if pixels is None:
        raise unreadable(path, name)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if header.samples == 2 and pixels.shape[2] == 4:  # grey and alpha, grey three times over
        return pixels[..., [0, 3]]
    if pixels.shape[2] < 3:
        return pixels
    return pixels[..., ::-1] if pixels.shape[2] == 3 else pixels[..., [2, 1, 0, 3]]


def _header(path: Path, name: str) -> Header:
    try:
        header = read_header(path)
    except (OSError, ValueError):
        raise unreadable(path, name) from None
    if header.height * header.width > MOST_PIXELS:
        rule = f"a picture must have at most {MOST_PIXELS} pixels"
        fault = f"claims {header.height} x {header.width}"
        raise Refused(Problem(name, rule, fault, "check the file, or cut it into parts"))
    if header.pages > 1:
        rule = "a TIFF file must hold one slice"
        raise Refused(Problem(name, rule, "holds several pages", "save each slice as a file"))
    if not header.upright:
        rule, fault = "a TIFF file must be stored upright", "asks to be rotated (tag 274)"
        raise Refused(Problem(name, rule, fault, "save it the way it should be shown"))
    return header


def _require_image(name: str, image_HWC: NDArray[Any]) -> None:
    if image_HWC.shape[2] > MOST_CHANNELS:
        rule = f"an image must have 1 to {MOST_CHANNELS} channels"
        fault = f"has {image_HWC.shape[2]}"
        raise Refused(Problem(name, rule, fault, "remove channels"))
    if image_HWC.dtype.kind == "f" and not np.isfinite(image_HWC).all():
        count = np.count_nonzero(~np.isfinite(image_HWC))
        rule, fault = "an image must hold finite numbers", f"holds {count} that are not"
        raise Refused(Problem(name, rule, fault, "write 0 where nothing was measured"))


def _grey(name: str, pixels_HWC: NDArray[Any]) -> NDArray[Any]:
    """The channel of a mask; a colour file of a grey mask holds it three times, and maybe alpha."""
    colours, alpha = pixels_HWC, pixels_HWC[:0]
    if pixels_HWC.shape[2] in (2, 4):
        colours, alpha = pixels_HWC[..., :-1], pixels_HWC[..., -1]
    if (colours != colours[..., :1]).any() or (alpha != alpha.max(initial=0)).any():
        flat = pixels_HWC.reshape(-1, pixels_HWC.shape[2])
        values, counts = np.unique(flat, return_counts=True, axis=0)
        fault = f"is coloured: {_with_counts(['/'.join(map(str, v)) for v in values], counts)}"
        raise Refused(Problem(name, "a mask must be grey", fault, "convert it to grey"))
    grey_HW: NDArray[Any] = colours[..., 0]
    return grey_HW


def _histogram(mask_HW: NDArray[Any]) -> str:
    values, counts = np.unique(mask_HW, return_counts=True)
    return _with_counts([str(value) for value in values], counts)


def _with_counts(values: list[str], counts: NDArray[np.int64]) -> str:
    shown = [f"{v} ({n} px)" for v, n in zip(values[:SHOWN], counts[:SHOWN], strict=False)]
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(shown) + more


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"
