"""A CSV file that names image, mask and patient of each row, for any folder of data.

    image,mask,patient,site,spacing,channels
    scans/a.nii.gz|scans/b.nii.gz,scans/seg.nii.gz,P1,Munich,0.9 x 0.9 x 5,T1|FLAIR

Paths are relative to the folder of the CSV, or absolute and inside it; backslashes and a leading
./ are understood. Channels are joined by "|". data/readers/delimited.py says what text is read.
A model that predicts needs the column image alone, see ``pictures.case_of``. Optional columns:

    slice      default: the number at the end of the image's name; a volume has none
    site       where the patient was scanned
    channels   their names, the same in all rows
    spacing    or row_mm, column_mm, slice_mm; default: as a volume has it, or unknown
"""

import math
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from brainseg.data.formats.listing import (
    UNKNOWN,
    Listing,
    Spacing,
    is_picture,
    is_volume,
    number_at_end,
)
from brainseg.data.formats.pictures import case_of
from brainseg.data.persons import composed
from brainseg.data.readers.delimited import CORRECT, header, read_rows
from brainseg.data.readers.paths import JOINT
from brainseg.data.readers.problems import Problem, Refused
from brainseg.data.table import MILLIMETRES

MANIFEST = "a CSV file with columns image, mask, patient"
NEEDED = ("image", "mask", "patient")
FOR_MODEL = ("image",)
SUFFIXES = (".csv", ".tsv")


def tables(names: Sequence[str]) -> list[str]:
    """The files directly under the root that may be a manifest, by their names."""
    return [name for name in names if name.lower().endswith(SUFFIXES) and "/" not in name]


def manifests(listing: Listing, names: list[str]) -> list[str]:
    """The CSV files directly under the root that have the columns of a manifest."""
    if listing.manifest:
        return [listing.manifest]
    needed = ("image", "patient") if listing.for_model else NEEDED
    return [name for name in tables(names) if header(listing.root / name, needed)]


def list_manifest(listing: Listing, names: list[str]) -> None:
    """Add every row of the one manifest; a problem with a row names its line."""
    files = manifests(listing, names)
    if len(files) != 1:
        rule = f"the root must hold exactly one manifest ({MANIFEST})"
        for name in files or ["the root"]:
            fault = f"is one of {len(files)}" if files else "holds none"
            listing.refuse(name, rule, fault, "keep exactly one")
        return
    listing.manifest = files[0]
    try:
        needed = FOR_MODEL if listing.for_model else NEEDED
        rows, problems = read_rows(listing.root / files[0], files[0], needed)
    except Refused as refusal:
        listing.problems.append(refusal.problem)
        return
    listing.problems += problems
    on_disk = _Names.of(listing, names)
    for row in rows:
        try:
            _list_row(listing, row.cells, on_disk)
        except _BadRow as bad:
            listing.refuse(f"{files[0]} line {row.line}", bad.rule, bad.fault, CORRECT)


class _BadRow(Exception):
    """A row breaks a rule; both texts are those of a Problem."""

    def __init__(self, rule: str, fault: str) -> None:
        super().__init__(rule, fault)
        self.rule, self.fault = rule, fault


@dataclass(frozen=True)
class _Names:
    """The files of the data by how a manifest may write them."""

    root: str
    by_spelling: dict[str, str]

    @classmethod
    def of(cls, listing: Listing, names: Sequence[str]) -> "_Names":
        spelled = {composed(name): name for name in names}
        return cls(str(listing.root), spelled | {name: name for name in names})

    def file(self, cell: str) -> str:
        """The name on disk of the file that a cell names."""
        for text in (cell, cell.replace("\\", "/")):
            if os.path.isabs(text):
                folder, last = os.path.split(text)
                text = os.path.relpath(os.path.join(os.path.realpath(folder), last), self.root)
            name = posixpath.normpath(text)
            if known := self.by_spelling.get(name, self.by_spelling.get(composed(name))):
                return known
        small = composed(name).casefold()
        near = [known for known in self.by_spelling if composed(known).casefold() == small]
        case = f", which differs from {near[0]} by case" if near else ""
        rule = "a row must name files of this data folder by their paths in it"
        raise _BadRow(rule, f"names '{cell}'{case}")


def _list_row(listing: Listing, row: dict[str, str], on_disk: _Names) -> None:
    rule = "a row must have an image" + ", a mask and a patient" * (not listing.for_model)
    for column in FOR_MODEL if listing.for_model else NEEDED:
        if not row[column]:
            raise _BadRow(rule, f"lacks {column}")
    images = [on_disk.file(cell.strip()) for cell in row["image"].split(JOINT)]
    mask = _mask(listing, row.get("mask", ""), images, on_disk)
    kinds = {(is_picture(name), is_volume(name)) for name in (*images, mask or images[0])}
    if kinds not in ({(True, False)}, {(False, True)}):
        raise _BadRow("image and mask must both be pictures, or both volumes", "mixes them")
    spacing = _spacing(row)
    _keep_channel_names(listing, row.get("channels", ""))
    case, number = case_of(images[0])
    names = (row.get("patient") or case, JOINT.join(images), mask)
    if is_volume(images[0]):
        if row.get("slice"):
            raise _BadRow("a volume must have no slice number", f"has {row['slice']!r}")
        listing.volume(*names, site=row.get("site", ""), spacing=spacing)
        return
    patient, image, _ = names
    if row.get("patient") or row.get("slice"):
        number = _number(row, images[0], number if listing.for_model else None)
    site, spacing = row.get("site", ""), spacing or UNKNOWN
    listing.picture(patient, number, image, mask, site=site, spacing=spacing)


def _mask(listing: Listing, cell: str, images: Sequence[str], on_disk: _Names) -> str:
    """The mask that a row names; a model does without one that is wrong, and so is its row."""
    if not (cell and listing.for_model):
        return on_disk.file(cell) if cell else ""
    try:
        mask = on_disk.file(cell)
    except _BadRow as bad:
        listing.without_mask(
            JOINT.join(images), Problem(f"the row of {images[0]}", bad.rule, bad.fault, CORRECT)
        )
        return ""
    if is_volume(mask) == is_volume(images[0]) and is_picture(mask) == is_picture(images[0]):
        return mask
    rule = "image and mask must both be pictures, or both volumes"
    why = Problem(mask, rule, "is not as its image", CORRECT)
    listing.without_mask(JOINT.join(images), why, mask)
    return ""


def _keep_channel_names(listing: Listing, text: str) -> None:
    names = tuple(name.strip() for name in text.split(JOINT)) if text else ()
    if names and listing.channels and names != listing.channels:
        known = JOINT.join(listing.channels)
        rule = "every row must name the same channels, or none"
        raise _BadRow(rule, f"names {text!r}, an earlier row {known!r}")
    listing.channels = names or listing.channels


def _number(row: dict[str, str], image: str, usual: int | None) -> int:
    text = row.get("slice", "")
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    number = number_at_end(image)
    if not text and number is None:
        number = usual
    if text or number is None:
        fault = f"has {text!r}" if text else "has none, and its image's name does not end in one"
        raise _BadRow("a row must have a slice number", fault)
    return number


def _spacing(row: dict[str, str]) -> Spacing | None:
    """The distance between rows, columns, slices in mm; None where the manifest's row has none."""
    text = row.get("spacing", "")
    between = r"\s*[x*;]\s*" if re.search("[x*;]", text) else r"[,\s]+"  # 0,9 x 0,9 x 5 is no six
    cells = re.split(between, text) if text else [row.get(name, "") for name in MILLIMETRES]
    if not any(cells):
        return None
    try:
        height, width, depth = (float(cell) if cell else math.nan for cell in cells)
    except ValueError:
        rule = "a spacing must be three numbers in mm, as 0.9 x 0.9 x 5"
        raise _BadRow(rule, f"has {text or cells!r}") from None
    if not all(math.isnan(mm) or 0 < mm < math.inf for mm in (height, width, depth)):
        raise _BadRow("a spacing must be above 0 mm", f"has {text or cells!r}")
    return height, width, depth
