"""nnU-Net's raw data sets, of volumes or of pictures."""

import re
from collections import defaultdict
from collections.abc import Mapping

from brainseg.data.formats.dataset_json import DESCRIPTION, Description, read_description
from brainseg.data.formats.listing import TEST_CASE, Listing, is_picture, is_volume, stem
from brainseg.data.formats.pictures import add_file, case_of, read_name
from brainseg.data.persons import composed
from brainseg.data.readers import nifti
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import Refused

NNUNET = "imagesTr/<CASE>_0000.*, labelsTr/<CASE>.* and dataset.json"


def looks_like_nnunet(names: list[str]) -> list[str]:
    """The files of such a data set; [] where it is none."""
    images = [name for name in names if name.startswith("imagesTr/")]
    labels = [name for name in names if name.startswith("labelsTr/")]
    return images + labels if images and (labels or DESCRIPTION in names) else []


def list_nnunet(listing: Listing, names: list[str]) -> None:
    """A volume's case is its patient; a picture's name contains the patient, as <PATIENT>_<n>.

    For a model test cases count as the others do.
    """
    files = [name for name in names if is_picture(name) or is_volume(name)]
    about = _description(listing, names)
    listing.channels = about.channels if about else ()
    if listing.for_model:
        _list_cases(listing, files, "Ts")
    else:
        tests = ("imagesTs/", "labelsTs/")
        listing.aside |= {name: TEST_CASE for name in names if name.startswith(tests)}
    count = _list_cases(listing, files, "Tr")
    if about and count and about.cases not in (None, count):
        said = f"{DESCRIPTION} (numTraining is {about.cases})"
        listing.note(f"{count} training cases are there, not as many as was counted", said)


def _list_cases(listing: Listing, files: list[str], part: str) -> int:
    """Add the cases of imagesTr and labelsTr, or of imagesTs and labelsTs; how many there are."""
    masks: dict[str, str] = {}
    for name in files:
        if name.startswith(f"labels{part}/"):
            add_file(listing, masks, stem(name), name)
    images = _images(listing, [n for n in files if n.startswith(f"images{part}/")], masks)
    if images and not masks and not listing.for_model:
        rule = "an nnU-Net folder must have labelsTr with the mask of each case"
        cases = [name for case in images.values() for name in case.values()]
        listing.refuse("labelsTr", rule, "holds none", "add the masks", files=cases)
        return 0
    single = [case for case in images.values() if list(case) == [0]]
    whole = 2 * len(single) > len(images)
    for case in sorted(images.keys() | masks.keys()):
        _list_case(listing, case, images.get(case, {}), masks.get(case, ""), whole=whole)
    return len(images.keys() | masks.keys())


def _images(
    listing: Listing, names: list[str], masks: Mapping[str, str]
) -> dict[str, dict[int, str]]:
    """The files of each case by their channel.

    In the Medical Segmentation Decathlon, from which nnU-Net comes, a file without a channel in its
    name holds all channels.
    """
    images: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        case, _, channel = stem(name).rpartition("_")
        if case and re.fullmatch(r"\d{4}", channel, re.A):
            add_file(listing, images[composed(case)], int(channel), name)
        elif composed(stem(name)) in masks or listing.for_model:
            add_file(listing, images[composed(stem(name))], 0, name)
        else:
            rule = "the name of an image must end in its channel, as _0000"
            listing.refuse(name, rule, "does not", f"rename it like {NNUNET}")
    return images


def _list_case(
    listing: Listing, case: str, images: dict[int, str], mask: str, *, whole: bool
) -> None:
    """Add a case; ``whole``: most cases are a single file, which may hold all channels."""
    if not images:
        rule, remedy = "a mask must have its image", "add the image, or remove the mask"
        listing.refuse(mask, rule, "has none", remedy)
        return
    first, *others = (images[channel] for channel in sorted(images))
    files = [*others, mask] if mask else others
    if not mask and not listing.for_model:
        rule, remedy = "an image must have its mask", "add the mask, or remove the image"
        listing.refuse(first, rule, "has none", remedy, files=files)
    elif (gap := _gap(listing, images)) and not (whole and _holds_all(listing, images)):
        remedy = f"add the missing ones, or correct {DESCRIPTION}"
        listing.refuse(first, *gap, remedy, files=files)
    elif all(map(is_volume, (*images.values(), mask or first))):
        listing.volume(case, JOINT.join((first, *others)), mask)
    elif all(map(is_picture, (*images.values(), mask or first))):
        if listing.for_model:
            listing.picture(*case_of(case), JOINT.join((first, *others)), mask)
        elif patient_and_number := read_name(listing, [first, *files], case):
            listing.picture(*patient_and_number, JOINT.join((first, *others)), mask)
    else:
        rule = "image and mask must be of one kind"
        fault = f"is of another kind than {JOINT.join((first, *others))}"
        remedy = "save both as volumes, or both as pictures"
        listing.refuse(mask or first, rule, fault, remedy, files=images.values())


def _gap(listing: Listing, images: dict[int, str]) -> tuple[str, str] | None:
    """The rule that a case breaks whose channels are not those of dataset.json, and how."""
    expected = len(listing.channels or images)
    if sorted(images) == list(range(expected)):
        return None
    has = ", ".join(map(str, sorted(images)))
    return f"a case must have channels 0 to {expected - 1}", f"has {has}"


def _holds_all(listing: Listing, images: dict[int, str]) -> bool:
    """Whether a case is one file that can hold all channels: a picture, or a volume of so many."""
    if list(images) != [0] or is_picture(images[0]):
        return list(images) == [0]
    try:
        geometry = nifti.geometry(confined(listing.root, images[0]), images[0])
    except Refused:
        return True  # of what it is that cannot be read is said when it is listed
    return geometry.channels == len(listing.channels)


def _description(listing: Listing, names: list[str]) -> Description | None:
    """What dataset.json says; None, and a problem, where it says too little."""
    try:
        if DESCRIPTION not in names:
            if listing.for_model:
                return None
            raise ValueError("is missing")
        about = read_description(listing.root / DESCRIPTION)
    except ValueError as error:
        rule = f"an nnU-Net folder must have a {DESCRIPTION} with channel_names and labels"
        listing.refuse(DESCRIPTION, rule, str(error), "write it as nnU-Net documents it")
        return None
    if listing.for_model:
        return about
    images = [name for name in names if name.startswith("imagesTr/")]
    if not any(name.lower().endswith(about.ending.lower()) for name in images):
        rule = f"the file_ending of {DESCRIPTION} must be that of the files in imagesTr"
        fault = f"has {about.ending!r}, none of {len(images)} files ends in it"
        listing.refuse(DESCRIPTION, rule, fault, "correct it")
    if about.labels != (1,) and not listing.label:
        rule = "the labels must be background 0 and tumour 1"
        fault = f"has {about.legend}"
        listing.refuse(
            DESCRIPTION, rule, fault, "choose what is tumour, as with --label whole, or merge them"
        )
    return about
