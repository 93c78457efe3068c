"""nnU-Net's raw data sets, of volumes or of pictures."""

import json
import re
from collections import defaultdict
from typing import Any

from brainseg.data.formats.listing import Listing, is_picture, is_volume, stem
from brainseg.data.formats.pictures import add_file, read_name
from brainseg.data.persons import composed
from brainseg.data.readers.paths import JOINT

NNUNET = "imagesTr/<CASE>_0000.*, labelsTr/<CASE>.* and dataset.json"
DESCRIPTION = "dataset.json"


def looks_like_nnunet(names: list[str]) -> bool:
    return all(any(n.startswith(part) for n in names) for part in ("imagesTr/", "labelsTr/"))


def list_nnunet(listing: Listing, names: list[str]) -> None:
    """A volume's case is its patient; a picture's name contains the patient, as <PATIENT>_<n>."""
    channels = _channels(listing, names)
    listing.channels = tuple(channels or ())
    images: dict[str, dict[int, str]] = defaultdict(dict)
    masks: dict[str, str] = {}
    for name in names:
        if not (is_picture(name) or is_volume(name)):
            continue
        if name.startswith("labelsTr/"):
            add_file(listing, masks, stem(name), name)
        elif name.startswith("imagesTr/"):
            case, _, channel = stem(name).rpartition("_")
            if not (case and re.fullmatch(r"\d{4}", channel)):
                rule = "the name of an image must end in its channel, as _0000"
                listing.refuse(name, rule, "does not", f"rename it like {NNUNET}")
                continue
            add_file(listing, images[composed(case)], int(channel), name)
    for case in sorted(images.keys() | masks.keys()):
        _list_case(listing, case, images.get(case, {}), masks.get(case, ""), channels)


def _list_case(
    listing: Listing, case: str, images: dict[int, str], mask: str, channels: list[str] | None
) -> None:
    if not images:
        rule, remedy = "a mask must have its image", "add the image, or remove the mask"
        listing.refuse(mask, rule, "has none", remedy)
        return
    joined = JOINT.join(images[channel] for channel in sorted(images))
    expected = len(images if channels is None else channels)
    if not mask:
        rule, remedy = "an image must have its mask", "add the mask, or remove the image"
        listing.refuse(images[min(images)], rule, "has none", remedy)
    elif sorted(images) != list(range(expected)):
        rule = f"a case must have channels 0 to {expected - 1}"
        fault = f"has {', '.join(map(str, sorted(images)))}"
        listing.refuse(
            images[min(images)], rule, fault, f"add the missing ones, or correct {DESCRIPTION}"
        )
    elif is_volume(mask) and all(map(is_volume, images.values())):
        listing.volume(case, joined, mask)
    elif is_picture(mask) and all(map(is_picture, images.values())):
        if patient_and_number := read_name(listing, [*images.values(), mask], case):
            listing.picture(*patient_and_number, joined, mask)
    else:
        rule, fault = "image and mask must be of one kind", f"is of another kind than {joined}"
        listing.refuse(mask, rule, fault, "save both as volumes, or both as pictures")


def _channels(listing: Listing, names: list[str]) -> list[str] | None:
    """The channels' names in dataset.json; None, and a problem, where it has none."""
    rule = f"an nnU-Net folder must have a {DESCRIPTION} with channel_names and labels"
    try:
        if DESCRIPTION not in names:
            raise ValueError("is missing")
        text = (listing.root / DESCRIPTION).read_text(encoding="utf-8")
        try:
            about = json.loads(text)
            channels = about.get("channel_names", about.get("modality"))
            if isinstance(channels, dict):
                channels = [channels.get(str(n), "") for n in range(len(channels))]
            declared = [str(name) for name in channels]
            labels = _foreground(about["labels"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError("does not contain them") from None
    except (OSError, ValueError) as error:
        listing.refuse(DESCRIPTION, rule, str(error), "write it as nnU-Net documents it")
        return None
    if labels != [1]:
        rule, fault = "the labels must be background 0 and tumour 1", f"has {about['labels']}"
        listing.refuse(DESCRIPTION, rule, fault, "merge the labels into one, here and in labelsTr")
    return declared


def _foreground(labels: dict[str, Any]) -> list[Any]:
    """The values other than 0 of {"background": 0, "tumour": 1}, or of {"0": ..., "1": ...}."""
    old = all(key.isdigit() for key in labels)
    values = [int(key) for key in labels] if old else list(labels.values())
    return [value for value in values if value != 0]
