"""How the files of a prediction are called, relative to the folder that they are written to.

A mask is called as the layout of its image has it, so that images and masks in one folder are a
data set again:

    pairs    images/P1_3.png                      masks/P1_3.png
    nnunet   imagesTs/C1_0000.nii.gz (and _0001)  labelsTs/C1.nii.gz
    others   P1/P1_3.tif                          P1/P1_3_mask.tif
             P1/P1_flair.nii.gz (and P1_t1)       P1/P1_mask.nii.gz

What was JPEG becomes PNG, which is without loss.
"""

import re
from itertools import takewhile
from pathlib import Path

from brainseg.data.formats.account import suffix
from brainseg.data.formats.listing import is_volume, stem
from brainseg.data.formats.nifti_folders import CHANNEL
from brainseg.data.readers.paths import JOINT

JPEG = (".jpg", ".jpeg")
PROBABILITIES, OVERLAYS = "probabilities", "overlays"  # folders


def mask_name(layout: str, image: str, root: Path) -> str:
    """Of the mask of an image, whose files may be joined by "|"."""
    first = image.split(JOINT)[0]
    folder, ending = first.rpartition("/")[0], _ending(first)
    if layout == "nnunet":
        case = re.sub(CHANNEL, "", _shared(image, root))
        return f"labels{folder.removeprefix('images')}/{case}{ending}"
    if layout == "pairs":
        return f"masks{folder.removeprefix('images')}/{stem(first)}{ending}"
    return _joined(folder, f"{_shared(image, root)}_mask{ending}")


def probability_name(image: str, root: Path) -> str:
    first = image.split(JOINT)[0]
    named = _joined(first.rpartition("/")[0], f"{_shared(image, root)}_probability{_ending(first)}")
    return f"{PROBABILITIES}/{named}"


def overlay_name(image: str, root: Path, index: int) -> str:
    """Of a slice's overlay; ``index`` is -1 for a picture."""
    folder = image.split(JOINT)[0].rpartition("/")[0]
    of_slice = "" if index < 0 else f"_{index + 1:03}"
    return f"{OVERLAYS}/{_joined(folder, f'{_shared(image, root)}{of_slice}.png')}"


def _ending(name: str) -> str:
    """The end of a file's name that says its format."""
    ending = name[len(name) - len(suffix(name)) :]
    return ".png" if ending.lower() in JPEG else ending


def _shared(image: str, root: Path) -> str:
    """What the files of an image are called together: P1 of P1_flair and P1_t1, or their folder."""
    stems = [re.sub(CHANNEL, "", stem(name)) for name in image.split(JOINT)]
    if len(stems) == 1:
        return stems[0] if is_volume(image) else stem(image)
    folder = image.split(JOINT)[0].rpartition("/")[0]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    shared = "".join(first for first, *_ in alike)
    if any(name[len(shared) :][:1].isalnum() for name in stems):
        shared = re.sub(r"[_\-. ][^\W\d_]+$", "", shared)  # the t of P1_t1 and P1_t2
    shared = shared.rstrip("_-. ")
    return shared or folder.rpartition("/")[2] or root.name


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
