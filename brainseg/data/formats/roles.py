"""One file, one role: an image of one slice, or the mask of one.

Masks that mark nothing may be one file for many slices, by a link or in a manifest: they are equal
anyway, and stores that keep equal files once (git-annex, hard links) make them so. So may equal
images under several names, which data/quality/duplicates.py judges by what they show.
"""

import filecmp
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

from brainseg.data.formats.listing import Listing
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.paths import JOINT
from brainseg.data.readers.problems import Refused, some

IN_ONE_FOLDER = "a patient must lie in one folder"
NAMED = 3  # slices that a sentence names; others are counted


class _Slice(NamedTuple):
    """What matters here of a listing's row."""

    patient: str
    number: int
    image: str
    mask: str
    cut: int
    axis: int
    orientation: str

    @property
    def images(self) -> list[str]:
        return self.image.split(JOINT)


class _Copy(NamedTuple):
    """A patient whose folder is there twice."""

    first: str
    other: str
    name: str
    images: list[str]  # of the other


class _File(NamedTuple):
    identity: Hashable  # equal for all names of one file; its name where the system knows no more
    size: int
    path: str

    @classmethod
    def of(cls, listing: Listing, name: str) -> "_File":
        path = f"{listing.root}/{name}"
        try:
            stat = os.stat(path)
        except OSError:
            return cls(name, -1, path)
        return cls((stat.st_dev, stat.st_ino) if stat.st_ino else name, stat.st_size, path)

    def equals(self, other: "_File") -> bool:
        """Whether both hold the same bytes; where their sizes differ, neither is read."""
        try:
            return self.size == other.size and filecmp.cmp(self.path, other.path, shallow=False)
        except OSError:
            return False


def refuse_shared_files(listing: Listing) -> None:
    """Add a problem for each file that has two roles, whatever names and links lead to it."""
    slices = [_Slice(*row[:6], row[-2]) for row in listing.rows]
    names = {name for row in slices for name in (*row.images, row.mask) if name}
    files = {name: _File.of(listing, name) for name in names}
    masks: dict[str, list[_Slice]] = defaultdict(list)
    for row in slices:
        if row.mask:
            masks[row.mask].append(row)
    _refuse_images_listed_twice(listing, slices)
    _refuse_images_as_masks(listing, masks, files)
    _refuse_shared_masks(listing, masks, files)
    _refuse_copied_folders(listing, slices, files)


def _refuse_images_listed_twice(listing: Listing, slices: Iterable[_Slice]) -> None:
    cuts: dict[tuple[str, int], list[_Slice]] = defaultdict(list)
    for row in slices:
        for name in set(row.images):
            cuts[name, row.cut].append(row)
    rule, remedy = "an image must be listed once", "keep one of its rows"
    refused = set()
    for (name, _), rows in cuts.items():
        if len(rows) > 1 and name not in refused:
            refused.add(name)  # a volume once, by its first slice
            numbers = [f"{row.patient} slice {row.number}" for row in rows]
            listing.refuse(name, rule, f"is that of {_some(numbers)}", remedy)


def _refuse_images_as_masks(
    listing: Listing, masks: Mapping[str, list[_Slice]], files: Mapping[str, _File]
) -> None:
    """By the file; and by its bytes where it is an image's own mask."""
    images = {
        files[name].identity: name for rows in masks.values() for row in rows for name in row.images
    }
    rule, remedy = "a file must be an image or a mask", "name the mask that belongs to the image"
    for mask, rows in masks.items():
        image = images.get(files[mask].identity, "")
        copies = (name for name in rows[0].images if files[name].equals(files[mask]))
        copy = "" if image else next(copies, "")
        if (image and _marks(listing, rows) is not False) or (copy and _marks(listing, rows)):
            image = image or copy
            fault = "is both" if image == mask else f"and the image {image} are equal"
            listing.refuse(mask, rule, fault, remedy)


def _refuse_shared_masks(
    listing: Listing, masks: Mapping[str, list[_Slice]], files: Mapping[str, _File]
) -> None:
    names: dict[Hashable, list[str]] = defaultdict(list)
    for mask in masks:
        names[files[mask].identity].append(mask)
    rule = "a mask must be that of one image"
    remedy = "give each image its own; join the channels of one slice by |"
    for first, *others in names.values():
        rows = [row for name in (first, *others) for row in masks[name]]
        images = dict.fromkeys(row.image for row in rows)
        if len(images) > 1 and _marks(listing, masks[first]) is not False:
            links = f"and, as {_some(others)}, the same file, " if others else ""
            listing.refuse(first, rule, f"{links}is that of {_some(images)}", remedy)


def _refuse_copied_folders(
    listing: Listing, slices: Iterable[_Slice], files: Mapping[str, _File]
) -> None:
    """Folders of one name whose slices are equal: an archive that holds its patients twice."""
    folders: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for row in slices:
        last = row.patient.rpartition("/")[2]
        folders[last][row.patient][row.number] = row.images[0]
    copies: dict[tuple[str, str], list[_Copy]] = defaultdict(list)
    for last, patients in folders.items():
        first, *others = sorted(patients)
        for other in others:
            shared = patients[first].keys() & patients[other].keys()
            pairs = dict.fromkeys((patients[first][n], patients[other][n]) for n in sorted(shared))
            if pairs and all(files[image].equals(files[copy]) for image, copy in pairs):
                places = first.rpartition("/")[0], other.rpartition("/")[0]
                copies[places].append(_Copy(first, other, last, [copy for _, copy in pairs]))
    for places, found in copies.items():
        _refuse_copies(listing, places, found)


def _refuse_copies(listing: Listing, places: tuple[str, str], copies: list[_Copy]) -> None:
    """Add a problem: for a patient who is there twice, or for a folder with all its patients."""
    if len(copies) == 1:
        first, file, _, images = copies[0]
        held = f"{len(images)} image{'s' * (len(images) > 1)}"
    else:
        first, file = sorted(places)  # "" is the root, which cannot be removed
        first = first or "the root"
        images = [image for copy in copies for image in copy.images]
        held = f"{len(copies)} patients ({copies[0].name}, ...)"
    fault = f"and {first} hold the same {held}"
    listing.refuse(file, IN_ONE_FOLDER, fault, "remove one of them", files=images)


def _marks(listing: Listing, rows: Iterable[_Slice]) -> bool | None:
    """Whether a mask marks any tumour; None where it cannot be read, which others refuse."""
    places = sorted({(row.mask, row.cut, row.axis, row.orientation) for row in rows})
    try:
        return any(read_mask(listing.root, *place, listing.label).any() for place in places)
    except Refused:
        return None


def _some(names: Iterable[str]) -> str:
    return some(names, last=" ", most=NAMED)
