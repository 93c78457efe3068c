"""A folder of volumes for each patient, one of them the mask."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from brainseg.data.formats.listing import Listing, is_volume, stem
from brainseg.data.formats.pictures import MASK_AT_END
from brainseg.data.persons import composed, patients_of_folders
from brainseg.data.readers import nifti
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import Problem, Refused

NIFTI = "<PATIENT>/*.nii.gz, one of them named *mask*, *seg* or *label*"
MASK = re.compile("mask|seg|label", re.I)
KEEP_ONE = "keep the tumour's alone"
CHANNEL = r"_000\d$"  # at the end of a file's name, as nnU-Net has it


@dataclass(frozen=True)
class _Patient:
    """The volumes of one folder."""

    folder: str
    images: list[str]
    mask: str

    def channels(self) -> list[tuple[str, ...]]:
        """What the images may be called: flair, t1 of P1_flair, P1_t1; "" of a single one.

        That is what follows the words which they share with the mask; or, where the mask's name
        begins in another way, the words which they share with each other.
        """
        if len(self.images) == 1:
            return [("",)]
        images = [_words(self.folder, name) for name in self.images]
        mask = [_words(self.folder, self.mask)] if self.mask else []
        with_mask = _after_shared(images, [*images, *mask])
        alone = _after_shared(images, images)
        return list(dict.fromkeys([with_mask, alone] if all(alone) else [with_mask]))

    def in_order(self, channels: tuple[str, ...]) -> list[str]:
        """The images as ``channels`` names them; [] if they are others."""
        if channels in self.channels():
            return self.images
        ends = [channel.casefold().split("_") for channel in channels]
        words = {name: [w.casefold() for w in _words("", name)] for name in self.images}
        named = [[name for name in words if words[name][-len(end) :] == end] for end in ends]
        images = [names[0] for names in named if len(names) == 1]
        return images if len(images) == len(ends) and sorted(images) == self.images else []


def looks_like_nifti(names: list[str]) -> list[str]:
    """The volumes of folders that hold images and masks."""
    folders = (parts for parts in _folders(names).values() if all(parts))
    return [name for images, masks in folders for name in images + masks]


def list_nifti(listing: Listing, names: list[str]) -> None:
    """The patient is the folder, at any depth; its images are the channels, as most have them.

    For a model a folder may also hold volumes of several cases.
    """
    folders = _folders(names)
    if listing.for_model:
        folders = _cases(listing, folders)
    patients = [
        _Patient(folder, images, masks[0] if len(masks) == 1 else "")
        for folder, (images, masks) in sorted(folders.items())
        if _is_patient(listing, folder, images, masks)
    ]
    votes = Counter(channels for patient in patients for channels in patient.channels())
    if not votes:
        return
    usual = votes.most_common(1)[0][0]
    listing.channels = tuple(filter(None, usual))
    example = next(patient.folder for patient in patients if usual in patient.channels())
    called = patients_of_folders(patient.folder for patient in patients)
    for patient in patients:
        if images := patient.in_order(usual):
            masks = folders[patient.folder][1]
            if len(masks) > 1:
                shown = ", ".join(name.rpartition("/")[2] for name in masks)
                why = Problem(patient.folder, "a case must have one mask", f"has {shown}", KEEP_ONE)
                listing.without_mask(JOINT.join(images), why, *masks)
            listing.volume(called[patient.folder], JOINT.join(images), patient.mask)
        else:
            rule = f"every patient must have the channels of {example} ({_listed(usual)})"
            fault = f"has {_listed(patient.channels()[0])}"
            listing.refuse(patient.folder, rule, fault, "rename, add or remove volumes")


def _folders(names: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Images and masks of each folder that holds volumes."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in filter(is_volume, names):
        folders[name.rpartition("/")[0]].append(name)
    parted = {}
    for folder, files in folders.items():
        masks = [name for name in files if MASK.search("_".join(_words(folder, name)))]
        masks = masks or [name for name in files if MASK.search(stem(name))]
        parted[folder] = [name for name in files if name not in masks], masks
    return parted


def _cases(
    listing: Listing, folders: Mapping[str, tuple[list[str], list[str]]]
) -> dict[str, tuple[list[str], list[str]]]:
    """Images and masks of each case: of a folder whose volumes are channels, else by their names.

    <CASE>.nii.gz is a case with all its channels, <CASE>_0000.nii.gz has one of them.
    """
    cases: dict[str, tuple[list[str], list[str]]] = {}
    for folder, (images, masks) in folders.items():
        if listing.named:
            images, masks = _named(images, masks)
        if not images or are_channels(listing, images):
            cases[folder or listing.root.name] = images, masks
            continue
        apart: dict[str, tuple[list[str], list[str]]] = {}
        for name in images:
            case = re.sub(CHANNEL, "", composed(stem(name)))
            key = f"{folder}/{case}" if folder else case
            apart.setdefault(key, ([], []))[0].append(name)
        for name in masks:
            case = MASK_AT_END.sub("", composed(stem(name)))
            key = f"{folder}/{case}" if folder else case
            key = next(iter(apart)) if len(apart) == 1 else key
            if key in apart:
                apart[key][1].append(name)
            elif listing.named:
                apart[f"{folder}/{stem(name)}" if folder else stem(name)] = [name], []
            else:
                rule, remedy = "a mask must have its image", "add the image, or remove the mask"
                listing.refuse(name, rule, "has none", remedy)
        cases |= apart
    return cases


def _named(images: list[str], masks: list[str]) -> tuple[list[str], list[str]]:
    """Images and masks of files that were named: a mask ends as one does, beside an image."""
    ends = [name for name in masks if images and MASK_AT_END.search(f"_{stem(name)}")]
    return sorted({*images, *masks} - set(ends)), ends


def are_channels(listing: Listing, images: Sequence[str]) -> bool:
    """Whether these are the channels that the model takes, one in each file."""
    cases = {re.sub(CHANNEL, "", stem(name)) for name in images if re.search(CHANNEL, stem(name))}
    if listing.for_model < 2 or len(images) != listing.for_model or len(cases) > 1:
        return False
    try:
        held = nifti.geometry(confined(listing.root, images[0]), images[0]).channels
    except Refused:
        return True  # of what it is that cannot be read is said when it is listed
    return held == 1


def _is_patient(listing: Listing, folder: str, images: list[str], masks: list[str]) -> bool:
    """Whether a folder holds one patient; it is a problem where it does not."""
    remedy = "move the files, or list them in a CSV manifest"
    if not folder:  # never of a model's cases
        rule = "each patient's volumes must lie in a folder of its own"
        first, *others = images + masks
        listing.refuse(first, rule, f"lies in none{_and_others(others)}", remedy, files=others)
        return False
    by_stem: dict[str, str] = {}
    for name in images + masks:
        if (other := by_stem.setdefault(composed(stem(name)), name)) != name:
            fault = f"and {other} are the same volume"
            files = [*images, *masks]
            listing.refuse(name, "a volume must be one file", fault, "remove one", files=files)
            return False
    if not images or (len(masks) != 1 and not listing.for_model):
        rule = "a patient's folder must hold images and one mask (*mask*, *seg* or *label*)"
        which = f" ({', '.join(name.rpartition('/')[2] for name in masks)})" if masks[1:] else ""
        fault = f"holds {_counted(images, 'image')} and {_counted(masks, 'mask')}{which}"
        if not masks:
            remedy = "add its mask, or move it out of the data"
        listing.refuse(folder, rule, fault, remedy, files=images + masks)
        return False
    return True


def _words(folder: str, name: str) -> list[str]:
    """The words of a file's name without those of its folder, which may come first."""
    own, words = (re.split(r"[_\-. ]+", composed(stem(path))) for path in (folder, name))
    return words[len(own) :] if words[: len(own)] == own else words


def _after_shared(images: list[list[str]], alike: list[list[str]]) -> tuple[str, ...]:
    """What follows the first words that all of ``alike`` share."""
    in_step = zip(*alike, strict=False)
    shared = sum(1 for _ in takewhile(lambda same_place: len(set(same_place)) == 1, in_step))
    return tuple("_".join(words[shared:]) for words in images)


def _listed(channels: tuple[str, ...]) -> str:
    return ", ".join(channels) if channels != ("",) else "one image"


def _counted(names: Sequence[str], what: str) -> str:
    return f"{len(names) or 'no'} {what}{'s' * (len(names) != 1)}"


def _and_others(names: Sequence[str]) -> str:
    return f", nor {'do' if names[1:] else 'does'} {_counted(names, 'other')}" if names else ""
