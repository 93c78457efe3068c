"""Read one slice of a mask: 1 where it marks tumour, 0 elsewhere.

The values of the whole file are judged, so a volume is refused once, not once a slice.

Shapes: H rows, W columns, C channels.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.data.labels import WHOLE, as_bits, numbers_of
from brainseg.data.readers import nifti
from brainseg.data.readers.images import read_file
from brainseg.data.readers.nifti import Histogram, histogram
from brainseg.data.readers.paths import confined
from brainseg.data.readers.picture import LOSSY, Picture
from brainseg.data.readers.problems import Problem, Refused

ROUNDED = 1e-3  # whole numbers that a header's slope has scaled are met to that
SHOWN = 5  # values of a histogram
SMALLEST = 32  # pixels; fewer may be equal in two people by chance
MOST_LABELS = 100  # a mask of whole numbers below it holds labels, one of others an image


def read_mask(
    root: Path, mask: str, index: int = -1, axis: int = -1, orientation: str = "", label: str = ""
) -> NDArray[np.uint8]:
    """Return mask_HW of 0 and 1; the cut is that of ``read_image``, see data/labels.py for labels.

    Raises:
        Refused: as for an image; or the file is a JPEG, is coloured, holds numbers that are not
            finite, or anything but 0 and 1, or 0 and 255, or, with a label, anything but whole
            numbers from 0; or marks more than half of all pixels, as an inverted mask does.
    """
    return read_labels(root, mask, index, axis, orientation, label).mask_HW


@dataclass(frozen=True)
class Labelled:
    """A mask, and what its file says of its labels."""

    mask_HW: NDArray[np.uint8]
    labels: int  # all of its file, as ``labels.as_bits`` has them
    colours: dict[int, str]  # of those here, if a palette says so: red is #ff0000


def read_labels(
    root: Path, mask: str, index: int = -1, axis: int = -1, orientation: str = "", label: str = ""
) -> Labelled:
    """The mask of ``read_mask``, and its labels."""
    picture = _read_exact(root, mask, index, axis, orientation)
    if picture.labels_HW is None:
        numbers_HW = _grey(mask, picture.samples_HWC)
    else:
        numbers_HW = picture.labels_HW
    if mask.lower().endswith(nifti.SUFFIXES):
        held = nifti.read_volume(confined(root, mask), mask, orientation).histogram
    else:
        held = histogram(numbers_HW)
    _require_labels(mask, held, label)
    values, counts = held
    share = counts[_is_tumour(values, label)].sum() / counts.sum()
    if share > 0.5:
        rule = "a mask must mark the tumour, at most half of all pixels"
        fault = f"marks {share:.0%} and holds {_in_words(*held)}"
        raise Refused(Problem(mask, rule, fault, "invert it if it marks the background"))
    whole = np.rint(values).astype(np.int64).tolist()
    mask_HW = _is_tumour(numbers_HW, label).astype(np.uint8)
    return Labelled(mask_HW, as_bits(whole, label), _colours(picture))


def _colours(picture: Picture) -> dict[int, str]:
    if picture.labels_HW is None:
        return {}
    labels, first = np.unique(picture.labels_HW, return_index=True)
    colours = picture.samples_HWC.reshape(-1, 3)[first]
    return {int(n): f"#{bytes(colour).hex()}" for n, colour in zip(labels, colours, strict=True)}


def _require_labels(mask: str, held: Histogram, label: str) -> None:
    """Refuse values that are no labels, or several labels where none was chosen."""
    values, counts = held
    if not_finite := counts[~np.isfinite(values)].sum():
        rule, verb = "a mask must hold finite numbers", "is" if not_finite == 1 else "are"
        fault = f"holds {not_finite} that {verb} not"
        raise Refused(Problem(mask, rule, fault, "write 0 where nothing is marked"))
    whole = np.rint(values)
    are_labels = values.min() >= 0 and bool((abs(values - whole) <= ROUNDED).all())
    labels = whole[whole != 0].tolist()
    if are_labels and (label or labels in ([], [1], [255])):
        return
    if label:
        rule = "the labels of a mask must be whole numbers from 0"
        remedy = "correct it, or draw it again"
    elif are_labels and max(labels) < MOST_LABELS:
        rule = "a mask must hold 0 and 1, or 0 and 255, unless --label says which labels are tumour"
        remedy = "use --label whole for all of them, or join some, as --label 1+4"
    else:
        rule = "a mask must hold 0 and 1, or 0 and 255, or only 0"
        remedy = "threshold it, or redraw it"
    raise Refused(Problem(mask, rule, f"holds {_in_words(*held)}", remedy))


def _is_tumour(numbers: NDArray[Any], label: str) -> NDArray[np.bool_]:
    whole = numbers if numbers.dtype.kind in "ui" else np.rint(numbers)
    return whole > 0 if label in ("", WHOLE) else np.isin(whole, numbers_of(label))


def _read_exact(root: Path, name: str, index: int, axis: int, orientation: str) -> Picture:
    """A file's share of a slice that was stored without loss."""
    picture = read_file(root, name, index, axis, orientation)
    if LOSSY in picture.traits:
        rule = "a mask must be stored without loss"
        fault = "is compressed with JPEG, which blurs its edge"
        raise Refused(
            Problem(name, rule, fault, "export it again, as PNG, from where it was drawn")
        )
    return picture


def _grey(name: str, pixels_HWC: NDArray[Any]) -> NDArray[Any]:
    """The channel of a mask; a colour file of a grey mask holds it three times, and maybe alpha."""
    if pixels_HWC.shape[2] == 1:
        return pixels_HWC[..., 0]
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


def _in_words(values: NDArray[Any], counts: NDArray[np.int64]) -> str:
    """`0 (240 px), 2 (16 px)`."""
    return _with_counts([str(value) for value in values], counts)


def _with_counts(values: list[str], counts: NDArray[np.int64]) -> str:
    shown = [f"{v} ({n} px)" for v, n in zip(values[:SHOWN], counts[:SHOWN], strict=False)]
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(shown) + more


def mask_digest(mask_HW: NDArray[np.uint8]) -> str:
    """32 hex digits that equal masks share; "" of one that marks too little to compare."""
    if np.count_nonzero(mask_HW) < SMALLEST:
        return ""
    digest = hashlib.blake2b(repr(mask_HW.shape).encode(), digest_size=16)
    digest.update(np.packbits(mask_HW != 0).data)
    return digest.hexdigest()
