"""A CSV file that names image, mask and patient of each row, for any folder of data.

    image,mask,patient,site,spacing,channels
    scans/a.nii.gz|scans/b.nii.gz,scans/seg.nii.gz,P1,Munich,0.9 x 0.9 x 5,T1|FLAIR

Paths are relative to the folder of the CSV. Channels are joined by "|". Columns that may be left
out: slice (else the number at the end of the image's name; a volume has none), site, channels
(their names, the same in all rows), and spacing, or row_mm, column_mm, slice_mm (else as a volume
has it, or unknown).
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
    """The CSV files of the root that have the columns of a manifest."""
    tables = [name for name in names if name.lower().endswith(".csv") and "/" not in name]
    return [name for name in tables if set(NEEDED) <= set(_header(listing, name))]


def list_manifest(listing: Listing, names: list[str]) -> None:
    """Add every row of the one manifest; what is wrong with a row is told with its line."""
    found = manifests(listing, names)
    if len(found) != 1:
        rule, shown = f"the root must hold one manifest, {MANIFEST}", f"is one of {len(found)}"
        for name in found or ["the root"]:
            listing.refuse(name, rule, shown if found else "holds none", "keep one")
        return
    known = set(names)
    with (listing.root / found[0]).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.DictReader(file)
        lines.fieldnames = [column.strip().lower() for column in lines.fieldnames or ()]
        try:
            for cells in islice(lines, MOST_ROWS):
                _list_cells(listing, cells, known, f"{found[0]} line {lines.line_num}")
        except csv.Error as error:
            rule, line = "a manifest must be a table of text", f"line {lines.line_num + 1}"
            listing.refuse(f"{found[0]} {line}", rule, f"is not ({error})", "write it again")


def _list_cells(listing: Listing, cells: dict[str, str], known: set[str], line: str) -> None:
    own = {k: (v or "").strip() for k, v in cells.items() if isinstance(k, str)}
    try:
        _list_row(listing, own, known)
    except ValueError as fault:
        rule, _, shown = str(fault).partition(", ")
        listing.refuse(line, rule, shown, "mend the row")


def _list_row(listing: Listing, own: dict[str, str], known: set[str]) -> None:
    """ValueError: what is wrong with the row, as "rule, found"."""
    for column in NEEDED:
        if not own[column]:
            raise ValueError(f"a row must have {' and '.join(NEEDED)}, lacks {column}")
    files = [*own["image"].split(JOINT), own["mask"]]
    for name in files:
        if name not in known:
            raise ValueError(f"a row must name files of the data, names {name!r}")
    spacing = _spacing(own)
    _keep_channel_names(listing, own.get("channels", ""))
    if all(map(is_volume, files)):
        if own.get("slice"):
            raise ValueError(f"a volume must have no slice number, has {own['slice']!r}")
        names = (own["patient"], own["image"], own["mask"])
        listing.volume(*names, site=own.get("site", ""), spacing=spacing)
        return
    if not all(map(is_picture, files)):
        raise ValueError("image and mask must be pictures or volumes both, are not")
    listing.picture(
        own["patient"],
        _number(own, files[0]),
        own["image"],
        own["mask"],
        site=own.get("site", ""),
        spacing=spacing or UNKNOWN,
    )


def _keep_channel_names(listing: Listing, text: str) -> None:
    names = tuple(name.strip() for name in text.split(JOINT)) if text else ()
    if names and listing.channels and names != listing.channels:
        known = JOINT.join(listing.channels)
        rule = "every row must name the same channels or none"
        raise ValueError(f"{rule}, names {text!r}, one before it {known!r}")
    listing.channels = names or listing.channels


def _number(own: dict[str, str], image: str) -> int:
    text = own.get("slice", "")
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    number = number_at_end(image)
    if text or number is None:
        found = f"has {text!r}" if text else "has none, nor does the name of its image end in one"
        raise ValueError(f"a row must have a slice number, {found}")
    return number


def _spacing(own: dict[str, str]) -> Spacing | None:
    """From row to row, column to column, slice to slice; None where the row tells none."""
    text = own.get("spacing", "")
    cells = re.split(r"[x*,;\s]+", text) if text else [own.get(name, "") for name in MILLIMETRES]
    if not any(cells):
        return None
    try:
        row, column, between = (float(cell) if cell else math.nan for cell in cells)
    except ValueError:
        raise ValueError(f"a spacing must be three numbers of mm, is {text or cells!r}") from None
    if not all(math.isnan(mm) or 0 < mm < math.inf for mm in (row, column, between)):
        raise ValueError(f"a spacing must be above 0 mm, is {text or cells!r}")
    return row, column, between


def _header(listing: Listing, name: str) -> list[str]:
    with (listing.root / name).open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            first = next(csv.reader(file), [])
        except csv.Error:
            return []
    return [column.strip().lower() for column in first]
