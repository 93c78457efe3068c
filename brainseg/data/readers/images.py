"""Read one slice: an image in the file's own number type, or a mask of 0 and 1.

PNG, TIFF and JPEG files hold one slice each (see data/readers/decode.py); a NIfTI volume is cut
(see data/readers/nifti.py). Names joined by "|" are files of one channel each, which form one
image.

Shapes: H rows, W columns, C channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.data.readers import nifti
from brainseg.data.readers.decode import decode
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.picture import LOSSY, Picture, require_channels
from brainseg.data.readers.problems import Problem, Refused, unreadable

PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
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
    return read_picture(root, image, index, axis).samples_HWC


def read_picture(root: Path, image: str, index: int = -1, axis: int = -1) -> Picture:
    """The image of ``read_image``, with what its files are beside it."""
    pictures = [_read(root, name, index, axis) for name in image.split(JOINT)]
    channels = [picture.samples_HWC for picture in pictures]
    for name, other in zip(image.split(JOINT), channels, strict=True):
        if other.shape[:2] != channels[0].shape[:2]:
            rule = "the channels of an image must have the same size"
            fault = f"is {_size(other)} and {image.split(JOINT)[0]} is {_size(channels[0])}"
            raise Refused(Problem(name, rule, fault, "export all at one size"))
    image_HWC = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=2)
    _require_image(image, image_HWC)
    return Picture(image_HWC, frozenset().union(*(picture.traits for picture in pictures)))


def read_mask(root: Path, mask: str, index: int = -1, axis: int = -1) -> NDArray[np.uint8]:
    """Return mask_HW of 0 and 1.

    Raises:
        Refused: as for an image; or the file is a JPEG, is coloured, holds anything but 0 and 1 or
            0 and 255, or marks more than half of all pixels, as an inverted mask does.
    """
    mask_HW = _grey(mask, _read_exact(root, mask, index, axis))
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


def _read_exact(root: Path, name: str, index: int, axis: int) -> NDArray[Any]:
    """The samples of a file, shape (H, W, C), that were stored without loss."""
    picture = _read(root, name, index, axis)
    if LOSSY in picture.traits:
        rule = "a mask must be stored without loss"
        fault = "is compressed with JPEG, which blurs its edge"
        raise Refused(
            Problem(name, rule, fault, "export it again, as PNG, from where it was drawn")
        )
    return picture.samples_HWC


def _read(root: Path, name: str, index: int, axis: int) -> Picture:
    """One file's share of a slice."""
    path = confined(root, name)
    if not path.is_file():
        raise unreadable(path, name)
    if name.lower().endswith(nifti.SUFFIXES):
        return Picture(nifti.cut(path, name, index, axis))
    return decode(path, name)


def _require_image(name: str, image_HWC: NDArray[Any]) -> None:
    require_channels(name, image_HWC.shape[2])
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
