"""A CSV file that names image, mask and patient of each row, for any folder of data.

    image,mask,patient,site,spacing,channels
    scans/a.nii.gz|scans/b.nii.gz,scans/seg.nii.gz,P1,Munich,0.9 x 0.9 x 5,T1|FLAIR

Paths are relative to the folder of the CSV. Channels are joined by "|". Optional columns:

    slice      default: the number at the end of the image's name; a volume has none
    site       where the patient was scanned
    channels   their names, the same in all rows
    spacing    or row_mm, column_mm, slice_mm; default: as a volume has it, or unknown
"""

import csv
import math
import re
from itertools import islice

from brainseg.data.formats.listing import (
    UNKNOWN,
    Listing,
    Spacing,
    is_picture,
    is_volume,
    number_at_end,
)
from brainseg.data.readers.paths import JOINT
from brainseg.data.table import MILLIMETRES

MANIFEST = "a CSV file with columns image, mask, patient"
NEEDED = ("image", "mask", "patient")
MOST_ROWS = 10**6


def manifests(listing: Listing, names: list[str]) -> list[str]:
    """The CSV files directly under the root that have the columns of a manifest."""
    tables = [name for name in names if name.lower().endswith(".csv") and "/" not in name]
    return [name for name in tables if set(NEEDED) <= set(_header(listing, name))]


def list_manifest(listing: Listing, names: list[str]) -> None:
    """Add every row of the one manifest; a problem with a row names its line."""
    files = manifests(listing, names)
    if len(files) != 1:
        rule = f"the root must hold exactly one manifest ({MANIFEST})"
        for name in files or ["the root"]:
            fault = f"is one of {len(files)}" if files else "holds none"
            listing.refuse(name, rule, fault, "keep exactly one")
        return
    known = set(names)
    with (listing.root / files[0]).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.DictReader(file)
        lines.fieldnames = [column.strip().lower() for column in lines.fieldnames or ()]
        try:
            for cells in islice(lines, MOST_ROWS):
                _list_cells(listing, cells, known, f"{files[0]} line {lines.line_num}")
        except csv.Error as error:
            rule, line = "a manifest must be a table of text", f"line {lines.line_num + 1}"
            listing.refuse(f"{files[0]} {line}", rule, f"is not ({error})", "save it again")


def _list_cells(listing: Listing, cells: dict[str, str], known: set[str], line: str) -> None:
    row = {k: (v or "").strip() for k, v in cells.items() if isinstance(k, str)}
    try:
        _list_row(listing, row, known)
    except _BadRow as bad:
        listing.refuse(line, bad.rule, bad.fault, "correct the row")


class _BadRow(Exception):
    """A row breaks a rule; both texts are those of a Problem."""

    def __init__(self, rule: str, fault: str) -> None:
        super().__init__(rule, fault)
        self.rule, self.fault = rule, fault


def _list_row(listing: Listing, row: dict[str, str], known: set[str]) -> None:
    for column in NEEDED:
        if not row[column]:
            raise _BadRow("a row must have an image, a mask and a patient", f"lacks {column}")
    files = [*row["image"].split(JOINT), row["mask"]]
    for name in files:
        if name not in known:
            raise _BadRow("a row must name files of this data folder", f"names {name!r}")
    spacing = _spacing(row)
    _keep_channel_names(listing, row.get("channels", ""))
    if all(map(is_volume, files)):
        if row.get("slice"):
            raise _BadRow("a volume must have no slice number", f"has {row['slice']!r}")
        names = (row["patient"], row["image"], row["mask"])
        listing.volume(*names, site=row.get("site", ""), spacing=spacing)
        return
    if not all(map(is_picture, files)):
        raise _BadRow("image and mask must both be pictures, or both volumes", "mixes them")
    listing.picture(
        row["patient"],
        _number(row, files[0]),
        row["image"],
        row["mask"],
        site=row.get("site", ""),
        spacing=spacing or UNKNOWN,
    )


def _keep_channel_names(listing: Listing, text: str) -> None:
    names = tuple(name.strip() for name in text.split(JOINT)) if text else ()
    if names and listing.channels and names != listing.channels:
        known = JOINT.join(listing.channels)
        rule = "every row must name the same channels, or none"
        raise _BadRow(rule, f"names {text!r}, an earlier row {known!r}")
    listing.channels = names or listing.channels


def _number(row: dict[str, str], image: str) -> int:
    text = row.get("slice", "")
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    number = number_at_end(image)
    if text or number is None:
        fault = f"has {text!r}" if text else "has none, and its image's name does not end in one"
        raise _BadRow("a row must have a slice number", fault)
    return number


def _spacing(row: dict[str, str]) -> Spacing | None:
    """The distance between rows, columns, slices in mm; None where the manifest's row has none."""
    text = row.get("spacing", "")
    cells = re.split(r"[x*,;\s]+", text) if text else [row.get(name, "") for name in MILLIMETRES]
    if not any(cells):
        return None
    try:
        height, width, depth = (float(cell) if cell else math.nan for cell in cells)
    except ValueError:
        rule = "a spacing must be three numbers in mm"
        raise _BadRow(rule, f"has {text or cells!r}") from None
    if not all(math.isnan(mm) or 0 < mm < math.inf for mm in (height, width, depth)):
        raise _BadRow("a spacing must be above 0 mm", f"has {text or cells!r}")
    return height, width, depth


def _header(listing: Listing, name: str) -> list[str]:
    with (listing.root / name).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            first = next(csv.reader(file), [])
        except csv.Error:
            return []
    return [column.strip().lower() for column in first]
