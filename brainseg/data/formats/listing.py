"""The rows and problems that are collected while a folder is listed, whatever its layout."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from brainseg.data.persons import composed
from brainseg.data.readers import nifti
from brainseg.data.readers.geometry import ALIKE, CANONICAL, Geometry, times
from brainseg.data.readers.images import PICTURES
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import Problem, Refused

SliceRow = tuple[str, int, str, str, int, int, str, float, float, float, str, str]  # table.COLUMNS
Spacing = tuple[float, float, float]  # mm from row to row, column to column, slice to slice
UNKNOWN: Spacing = (math.nan, math.nan, math.nan)

NUMBER = re.compile(r"(?<!\d)\d{1,9}$")

COPY = "copy of the file beside it"
TEST_CASE = "file of a test case"
COPIED = re.compile(  # what systems add to the name of a copy
    r"(?P<name>.+?)(( -|_)? ?copy( ?\(?\d+\)?)?| ?\((\d+|copy)\))|copy of (?P<original>.+)", re.I
)


@dataclass
class Listing:
    """What was found in the folder ``root`` so far, in that order."""

    root: Path
    rows: list[SliceRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    slices: dict[str, int] = field(default_factory=dict)  # of each patient, cut from volumes
    channels: tuple[str, ...] = ()  # their names; () if unknown
    manifest: str = ""  # the file that lists the slices; "" where names of files do
    charged: set[str] = field(default_factory=set)  # files that are not used for a problem's sake
    aside: dict[str, str] = field(default_factory=dict)  # files that are not used: their kind
    label: str = ""  # what of a mask is tumour, see data/labels.py
    for_model: int = 0  # channels of a model that predicts: masks are optional; 0: all are needed
    named: bool = False  # one by one: no name makes a file a copy, nor a mask of no other file
    unscored: dict[str, str] = field(default_factory=dict)  # images without their mask; why
    notes: dict[str, list[str]] = field(default_factory=dict)  # what is unusual; where

    def refuse(
        self, file: str, rule: str, fault: str, remedy: str, *, files: Iterable[str] = ()
    ) -> None:
        """Add a problem; ``files`` are those beside ``file`` that are not used because of it."""
        self.problems.append(Problem(file, rule, fault, remedy))
        self.charged.update((file, *files))

    def without_mask(self, image: str, why: Problem, *masks: str) -> None:
        """Remember why an image for a model is listed without its mask."""
        self.unscored[image] = str(why)
        self.charged.update(masks)

    def note(self, what: str, where: str) -> None:
        """Remember what is unusual, but no problem."""
        self.notes.setdefault(what, []).append(where)

    def picture(
        self,
        patient: str,
        number: int,
        image: str,
        mask: str,
        *,
        site: str = "",
        spacing: Spacing = UNKNOWN,
    ) -> None:
        """Add the slice of a 2-D image and its mask, which may be "" for a model."""
        patient = composed(patient)
        self.rows.append((patient, number, image, mask, -1, -1, site, *spacing, "", self.label))

    def volume(
        self,
        patient: str,
        image: str,
        mask: str,
        *,
        site: str = "",
        spacing: Spacing | None = None,  # None: as the file has it
    ) -> None:
        """Add every slice of a volume; numbers continue in a patient's next volume.

        The mask may be "" for a model.
        """
        try:
            first = self._same_grid(image, mask)
        except Refused as refusal:
            if self.for_model and mask and self._is_usable(image):
                self.without_mask(image, refusal.problem, mask)
                self.volume(patient, image, "", site=site, spacing=spacing)
                return
            self.problems.append(refusal.problem)
            self.charged.update((*image.split(JOINT), *filter(None, [mask])))
            return
        pairs = zip(spacing or (), first.slice_spacing_mm, strict=False)
        if spacing and any(abs(mm - of_file) > ALIKE * of_file for mm, of_file in pairs):
            values = f"{times(spacing)} mm, affine {times(first.slice_spacing_mm)} mm"
            what = "the manifest and the affine disagree on the spacing, the manifest counts"
            self.note(what, f"{image} (manifest {values})")
        patient = composed(patient)
        orientation = "" if first.orientation == CANONICAL else first.orientation
        counted = self.slices.get(patient, 0)
        self.slices[patient] = counted + first.shape[first.axis]
        for index in range(first.shape[first.axis]):
            where = (image, mask, index, first.axis, site)
            mm = first.slice_spacing_mm if spacing is None else spacing
            self.rows.append((patient, counted + index + 1, *where, *mm, orientation, self.label))

    def _is_usable(self, image: str) -> bool:
        """Whether a volume's own files are."""
        try:
            self._same_grid(image, "")
        except Refused:
            return False
        return True

    def _same_grid(self, image: str, mask: str) -> Geometry:
        """The geometry of a volume's files, which must lie in one place.

        It is that of the first file which says where it lies; the others are as if stored alike.
        """
        names = [*image.split(JOINT), *filter(None, [mask])]
        geometries = [self._geometry(name) for name in names]
        place = next((k for k, geometry in enumerate(geometries) if geometry.placed), 0)
        first = geometries[place]
        for name, geometry in zip(names, geometries, strict=True):
            if not geometry.placed and first.orientation != CANONICAL:
                geometry = self._geometry(name, first.orientation)
            if difference := geometry.difference(first, names[place]):
                rule = "a patient's volumes must lie in one place, corners to a tenth of a voxel"
                remedy = (
                    "resample it to that grid, or copy that volume's affine if only the header is "
                    "wrong"
                )
                raise Refused(Problem(name, rule, difference, remedy))
            for what, values in geometry.notes:
                self.note(what, f"{name} ({values})" if values else name)
        if mask and geometries[-1].channels > 1:
            rule, channels = "a mask must have one channel", f"has {geometries[-1].channels}"
            raise Refused(Problem(mask, rule, channels, "keep only the tumour's"))
        return first

    def _geometry(self, name: str, orientation: str = CANONICAL) -> Geometry:
        return nifti.geometry(confined(self.root, name), name, orientation)


def set_copies_aside(listing: Listing, names: list[str]) -> list[str]:
    """The names without copies of files beside them: `P1_1 copy.tif`, `P1_1 (2).tif`."""
    if listing.named:
        return names
    matches = {
        name: original
        for name in names
        if (is_picture(name) or is_volume(name)) and (original := copied(name))
    }
    folders = {name.rpartition("/")[0] for name in matches}
    beside = ((name.rpartition("/")[0], name) for name in names)
    stems = {(folder, stem(name)) for folder, name in beside if folder in folders}
    for name, original in matches.items():
        if (name.rpartition("/")[0], original) in stems:
            listing.aside[name] = COPY
    return [name for name in names if name not in listing.aside]


def copied(name: str) -> str:
    """The stem of what a file is called a copy of; "" if it is not called one."""
    match = COPIED.fullmatch(stem(name))
    return (match["name"] or match["original"]) if match else ""


def is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURES)


def is_volume(name: str) -> bool:
    return name.lower().endswith(nifti.SUFFIXES)


def stem(name: str) -> str:
    """The last part of a path without .png, .tif, .nii, .nii.gz."""
    last = name.rpartition("/")[2]
    whole = last[:-3] if last.lower().endswith(".nii.gz") else last
    return whole.rsplit(".", 1)[0] if is_picture(last) or is_volume(last) else last


def number_at_end(name: str) -> int | None:
    """The slice number at the end of a stem: 12 of P_12 and of P012, none of P_12b."""
    digits = NUMBER.search(stem(name))
    return int(digits[0]) if digits else None
