"""Read one slice of an image, in the file's own number type; masks.py reads masks.

PNG, TIFF and JPEG files hold one slice each (see data/readers/decode.py); a NIfTI volume is cut
(see data/readers/nifti.py). Names joined by "|" are files of one channel each, which form one
image.

Shapes: H rows, W columns, C channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from brainseg.data.readers import nifti
from brainseg.data.readers.decode import decode
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.picture import LARGEST, PADDED, Picture, require_channels, unmeasured
from brainseg.data.readers.problems import Problem, Refused, unreadable

PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")


_users: list[int] = []  # of single_threaded; OpenCV's threads before the first of them
_users_lock = Lock()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Switch OpenCV's own threads off: slices are processed in threads of ours already.

    Where several threads do so at once, the last one that ends switches them on again.
    """
    with _users_lock:
        _users.append(_users[0] if _users else cv2.getNumThreads())
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _users_lock:
            before = _users.pop()
            if not _users:
                cv2.setNumThreads(before)


def read_image(
    root: Path, image: str, index: int = -1, axis: int = -1, orientation: str = ""
) -> NDArray[Any]:
    """Return image_HWC in the file's own type, channels in the order of the file (red first).

    ``index`` and ``axis`` say where a volume is cut, ``orientation`` where its stored axes point if
    it does not say so.

    Raises:
        Refused: a file outside root, missing, damaged, too large, of several pages or stored
            rotated; other than 1 to 4 channels; channel files of different sizes; a number that
            is not finite.
    """
    return read_picture(root, image, index, axis, orientation).samples_HWC


def read_picture(
    root: Path, image: str, index: int = -1, axis: int = -1, orientation: str = ""
) -> Picture:
    """The image of ``read_image``, with what its files are beside it."""
    pictures = [_finite(root, name, index, axis, orientation) for name in image.split(JOINT)]
    channels = [picture.samples_HWC for picture in pictures]
    for name, other in zip(image.split(JOINT), channels, strict=True):
        if other.shape[:2] != channels[0].shape[:2]:
            rule = "the channels of an image must have the same size"
            fault = f"is {_size(other)} and {image.split(JOINT)[0]} is {_size(channels[0])}"
            raise Refused(Problem(name, rule, fault, "export all at one size"))
    image_HWC = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=2)
    require_channels(image, image_HWC.shape[2])
    traits = frozenset().union(*(picture.traits for picture in pictures))
    padded = [picture.padded_HW for picture in pictures if picture.padded_HW is not None]
    return Picture(image_HWC, traits, padded_HW=np.any(padded, axis=0) if padded else None)


def require_same_size(
    image: str, image_HWC: NDArray[Any], mask: str, mask_HW: NDArray[np.uint8]
) -> None:
    """Refuse a mask whose size differs from its image's; ``image`` and ``mask`` name the files."""
    if image_HWC.shape[:2] != mask_HW.shape:
        rule = "a mask must have the size of its image"
        sizes = f"is {_size(mask_HW)} and {image} is {_size(image_HWC)}"
        raise Refused(Problem(mask, rule, sizes, "export both at one size"))


def _finite(root: Path, name: str, index: int, axis: int, orientation: str) -> Picture:
    """As ``read_file``, black where NaN is padding; refused for other numbers that are none."""
    picture = read_file(root, name, index, axis, orientation)
    if name.lower().endswith(nifti.SUFFIXES):
        lacks = nifti.read_volume(confined(root, name), name, orientation).unmeasured
    else:
        lacks = unmeasured(picture.samples_HWC, 2)
    if lacks.faults:
        rule = f"an image must hold finite numbers up to {LARGEST:g}"
        fault = f"holds {lacks.faults} that are not"
        raise Refused(Problem(name, rule, fault, "write 0 where nothing was measured"))
    if lacks.black is None or not (nan_HWC := np.isnan(picture.samples_HWC)).any():
        return picture
    samples_HWC = picture.samples_HWC.copy()
    samples_HWC[nan_HWC] = lacks.black
    return Picture(samples_HWC, picture.traits | {PADDED}, padded_HW=nan_HWC.any(axis=2))


def read_file(root: Path, name: str, index: int, axis: int, orientation: str) -> Picture:
    """One file's share of a slice."""
    path = confined(root, name)
    if not path.is_file():
        raise unreadable(path, name)
    if name.lower().endswith(nifti.SUFFIXES):
        return Picture(nifti.cut(path, name, index, axis, orientation))
    return decode(path, name)


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"
