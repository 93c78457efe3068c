"""Folders of 2-D pictures: LGG's, with masks beside their images, and images/ with masks/."""

import re
from collections.abc import Sequence
from typing import TypeVar

from brainseg.data import channels
from brainseg.data.formats.listing import Listing, is_picture, number_at_end, stem
from brainseg.data.persons import composed, patients_of_folders

LGG = "<PATIENT>/<PATIENT>_<n>.tif with <PATIENT>_<n>_mask.tif beside it"
PAIRS = "images/ and masks/ with equal names, <PATIENT>_<n>.png or <PATIENT>/<n>.png"
Key = TypeVar("Key", str, int)
MASK_AT_END = re.compile("[_-](mask|seg|segmentation|label)$", re.I)  # of a file in masks/
CLASSES = re.compile(  # folders by what the slices show; the slices of many patients lie in each
    r"(low|high)?[_-]?(gliomas?|meningiomas?|pituitary|metasta[st][ie]s)([_-]?tumou?rs?)?|[lh]gg|gbm|"
    r"(no|with)?[_-]?tumou?rs?|normal|healthy|controls?|benign|malignant|yes|no",
    re.I,
)
PARTS = re.compile(r"train(ing)?|val(id(ation)?)?|test(ing)?|fold[_-]?\d*|images?|masks?", re.I)


def looks_like_lgg(names: list[str]) -> list[str]:
    """The masks that lie beside their images; [] where images/ and masks/ hold them."""
    if looks_like_pairs(names):
        return []
    return [name for name in names if is_picture(name) and stem(name).lower().endswith("_mask")]


def looks_like_pairs(names: list[str]) -> list[str]:
    """The pictures in images/ and masks/; [] where one of them has none."""
    pictures = [name for name in names if is_picture(name)]
    parts = [[n for n in pictures if n.startswith(part)] for part in ("images/", "masks/")]
    return [name for part in parts for name in part] if all(parts) else []


def list_lgg(listing: Listing, names: list[str]) -> None:
    """The patient is the folder, at any depth; the slice is the number at the end of the name.

    For a model any name will do, see ``case_of``.
    """
    listing.channels = channels.LGG
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for name in filter(is_picture, names):
        slices, key = images, f"{name.rpartition('/')[0]}/{stem(name)}"
        if listing.for_model and MASK_AT_END.search(key):
            slices, key = masks, MASK_AT_END.sub("", key)
        elif key.lower().endswith("_mask"):
            slices, key = masks, key[: -len("_mask")]
        add_file(listing, slices, key, name)
    for key in sorted(masks) * listing.named:
        if key not in images:
            name = masks.pop(key)
            add_file(listing, images, f"{name.rpartition('/')[0]}/{stem(name)}", name)
    paired = _paired(listing, images, masks)
    if listing.for_model:
        for key in paired:
            listing.picture(*case_of(images[key]), images[key], masks.get(key, ""))
        return
    folders = {key: images[key].rpartition("/")[0] for key in paired}
    patients = patients_of_folders(set(folders.values()))
    for key in paired:
        patient = patients[folders[key]]
        number = number_at_end(images[key])
        last = folders[key].rpartition("/")[2]
        if PARTS.fullmatch(last) or CLASSES.fullmatch(last):
            rule = "a folder of slices must be one patient"
            remedy = "give each patient a folder, or list the files in a CSV manifest"
            listing.refuse(images[key], rule, f"lies in {last!r}", remedy, files=[masks[key]])
        elif number is None:
            rule = "the name of a slice must end in its number"
            remedy = f"rename it like {LGG}"
            listing.refuse(images[key], rule, "does not", remedy, files=[masks[key]])
        elif not patient:
            rule = "a slice must lie in its patient's folder"
            remedy = f"move it, as in {LGG}"
            listing.refuse(images[key], rule, "lies in none", remedy, files=[masks[key]])
        else:
            site = tissue_source_site(last)
            listing.picture(patient, number, images[key], masks[key], site=site)


def list_pairs(listing: Listing, names: list[str]) -> None:
    """The patient is the subfolder, or the name up to its last _<n>; the slice is that number."""
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for name in filter(is_picture, names):
        top, _, rest = name.partition("/")
        if top in ("images", "masks") and rest:
            folder = rest.rpartition("/")[0]
            key = f"{folder}/{stem(name)}" if folder else stem(name)
            add_file(listing, images if top == "images" else masks, key, name)
    for key in sorted(masks.keys() - images.keys()):
        if (bare := MASK_AT_END.sub("", key)) in images.keys() - masks.keys():
            masks[bare] = masks.pop(key)
    for key in _paired(listing, images, masks):
        mask = masks.get(key, "")
        if listing.for_model:
            listing.picture(*case_of(key), images[key], mask)
        elif patient_and_number := read_name(listing, [images[key], mask], key):
            listing.picture(*patient_and_number, images[key], mask)


def case_of(name: str) -> tuple[str, int]:
    """Case and slice of a picture of any name: a case of its own, unless it is numbered.

    <PATIENT>_<n> and <PATIENT>/<n> are slices of a patient, also below other folders; so are
    <PATIENT>/<PATIENT>_<n>.
    """
    folder, last = name.rpartition("/")[0], stem(name)
    match = re.fullmatch(r"(?:(.+)_)?(\d{1,9})", last)
    if not match or not (match[1] or folder):
        return (f"{folder}/{last}" if folder else last), 1
    patient = "" if match[1] in (None, folder.rpartition("/")[2]) else match[1]
    return "/".join(filter(None, [folder, patient])), int(match[2])


def read_name(listing: Listing, files: Sequence[str], key: str) -> tuple[str, int] | None:
    """Patient and slice of <PATIENT>/<n> or <PATIENT>_<n>; of other names None, and a problem.

    Args:
        files: that bear the name; a problem names the first.
    """
    file, *others = files
    *folders, name = key.split("/")
    number, remedy = number_at_end(name), "rename it, or list the files in a CSV manifest"
    fault = "does not"
    if len(folders) > 1 or (folders and PARTS.fullmatch(folders[0])):
        rule, fault = "a subfolder must be one patient", f"lies in {'/'.join(folders)!r}"
    elif number is None:
        rule = "the name of a slice must end in its number"
    elif folders:
        return folders[0], number
    elif match := re.fullmatch(r"(.+)_\d+", name):
        return match[1], number
    else:
        rule = "the name of a slice must contain its patient, as <PATIENT>_<n>"
    listing.refuse(file, rule, fault, remedy, files=others)
    return None


def tissue_source_site(patient: str) -> str:
    """The site of a TCGA patient: the second field of TCGA_XX_1234; "" for any other."""
    match = re.match(r"TCGA[_-]([A-Za-z0-9]{2})(?=[_-])", patient)
    return match[1].upper() if match else ""


def add_file(listing: Listing, files: dict[Key, str], key: Key, name: str) -> None:
    """Keep a file by its slice, case or channel; another one of the same is a problem."""
    if isinstance(key, str):
        key = composed(key)  # image and mask may come from different systems
    if key in files:
        fault = f"and {files[key]} are the same slice"
        listing.refuse(name, "a slice must be one file", fault, "remove one")
    else:
        files[key] = name


def _paired(listing: Listing, images: dict[str, str], masks: dict[str, str]) -> list[str]:
    """The keys that have image and mask; those with only one are problems.

    For a model an image needs no mask.
    """
    for key in sorted(images.keys() - masks.keys()) * (not listing.for_model):
        rule, remedy = "an image must have its mask", "add the mask, or remove the image"
        listing.refuse(images[key], rule, "has none", remedy)
    for key in sorted(masks.keys() - images.keys()):
        rule, remedy = "a mask must have its image", "add the image, or remove the mask"
        listing.refuse(masks[key], rule, "has none", remedy)
    return sorted(images if listing.for_model else images.keys() & masks.keys())
