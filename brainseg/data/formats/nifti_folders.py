"""A folder of volumes for each patient, one of them the mask."""

import re
from collections import defaultdict
from itertools import takewhile
from pathlib import PurePosixPath

from brainseg.data.formats.listing import Listing, is_volume, stem
from brainseg.data.persons import composed
from brainseg.data.readers.paths import JOINT

NIFTI = "<PATIENT>/*.nii.gz, one of them named *mask*, *seg* or *label*"
MASK = re.compile("mask|seg|label", re.I)


def looks_like_nifti(names: list[str]) -> bool:
    kinds: dict[str, set[bool]] = defaultdict(set)
    for name in filter(is_volume, names):
        kinds[name.rpartition("/")[0]].add(bool(MASK.search(stem(name))))
    return any(len(kind) == 2 for kind in kinds.values())


def list_nifti(listing: Listing, names: list[str]) -> None:
    """The patient is the folder; its images are the channels, in the order of their names."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in filter(is_volume, names):
        folders[name.rpartition("/")[0]].append(name)
    expected: tuple[str, list[str]] | None = None
    for folder, files in sorted(folders.items()):
        masks = [name for name in files if MASK.search(stem(name))]
        images = [name for name in files if name not in masks]
        if not _is_patient(listing, folder, images, masks):
            continue
        channels = _channel_names(images, masks[0])
        expected = expected or (folder, channels)
        listing.channels = tuple(filter(None, expected[1]))
        if channels != expected[1]:
            rule = (
                f"every patient must have the channels of {expected[0]} ({', '.join(expected[1])})"
            )
            fault = f"has {', '.join(channels)}"
            listing.refuse(folder, rule, fault, "rename, add or remove volumes")
            continue
        listing.volume(PurePosixPath(folder).name, JOINT.join(images), masks[0])


def _is_patient(listing: Listing, folder: str, images: list[str], masks: list[str]) -> bool:
    """Whether a folder holds one patient; it is a problem where it does not."""
    remedy = "move the files, or list them in a CSV manifest"
    fault = f"holds {len(images)} images and {len(masks)} masks"
    if not folder or "/" in folder:
        rule = "each patient's volumes must lie in a folder of its own directly under the root"
        listing.refuse((images + masks)[0], rule, f"lies in {folder or 'the root'!r}", remedy)
        return False
    if not images or len(masks) != 1:
        rule = "a patient's folder must hold images and one mask (*mask*, *seg* or *label*)"
        listing.refuse(folder, rule, fault, remedy)
        return False
    return True


def _channel_names(images: list[str], mask: str) -> list[str]:
    """How the names of a folder's images differ: flair, t1 of P1_flair, P1_t1; "" of one image."""
    if len(images) == 1:
        return [""]
    words = [re.split(r"[_\-. ]+", composed(stem(name))) for name in (*images, mask)]
    in_step = zip(*words, strict=False)
    shared = sum(1 for _ in takewhile(lambda same_place: len(set(same_place)) == 1, in_step))
    return ["_".join(parts[shared:]) for parts in words[:-1]]
