"""Which slices of which patients a folder holds, read from the names of its files.

manifest  a CSV file with columns image, mask, patient; takes precedence over the others
nnunet    imagesTr/<CASE>_0000.*, labelsTr/<CASE>.* and dataset.json
pairs     images/ and masks/ with equal names, <PATIENT>_<n>.png or <PATIENT>/<n>.png
lgg       <PATIENT>/<PATIENT>_<n>.tif with <PATIENT>_<n>_mask.tif beside it
nifti     <PATIENT>/*.nii.gz at any depth, one of them named *mask*, *seg* or *label*
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.data.formats.account import Account, account_for
from brainseg.data.formats.listing import Listing, set_copies_aside
from brainseg.data.formats.lost import refuse_lost_patients
from brainseg.data.formats.manifest import MANIFEST, list_manifest, manifests
from brainseg.data.formats.nearest import nearest_layout
from brainseg.data.formats.nifti_folders import NIFTI, list_nifti, looks_like_nifti
from brainseg.data.formats.nnunet import NNUNET, list_nnunet, looks_like_nnunet
from brainseg.data.formats.pictures import (
    LGG,
    PAIRS,
    list_lgg,
    list_pairs,
    looks_like_lgg,
    looks_like_pairs,
)
from brainseg.data.formats.roles import refuse_shared_files
from brainseg.data.labels import absent
from brainseg.data.readers.masks import mask_digest, read_labels
from brainseg.data.readers.memo import Place, memoised
from brainseg.data.readers.paths import NOWHERE, Tree, list_tree
from brainseg.data.readers.problems import Problem
from brainseg.data.table import COLUMNS, CUT

Lister = Callable[[Listing, list[str]], None]
LISTERS: dict[str, Lister] = {
    "lgg": list_lgg,
    "pairs": list_pairs,
    "manifest": list_manifest,
    "nnunet": list_nnunet,
    "nifti": list_nifti,
}
LAYOUTS = tuple(LISTERS)
LOOKS = {
    "lgg": looks_like_lgg,
    "pairs": looks_like_pairs,
    "nnunet": looks_like_nnunet,
    "nifti": looks_like_nifti,
}
MEASURED = np.dtype(  # of a mask; labels as bits
    [("area", "i8"), ("labels", "i8"), ("digest", "S32")]
)
KNOWN = {"manifest": MANIFEST, "nnunet": NNUNET, "pairs": PAIRS, "lgg": LGG, "nifti": NIFTI}


@dataclass(frozen=True)
class Contents:
    """What a folder holds, and every problem with its list of slices."""

    layout: str
    channels: tuple[str, ...]  # names, see data/channels.py
    table: pd.DataFrame
    problems: list[Problem]
    account: Account  # of all that lies in the folder
    manifest: str = ""  # as in Listing
    notes: dict[str, list[str]] = field(default_factory=dict)  # what is unusual in it; where
    mask_digests: list[str] = field(default_factory=list)  # of the rows, once masks were read


def find_slices(root: Path, layout: str = "auto", label: str = "") -> pd.DataFrame:
    """The table of ``read_folder``."""
    return read_folder(root, layout, label).table


def read_folder(root: Path, layout: str = "auto", label: str = "") -> Contents:
    """Return a folder's contents. Masks are read, unless the cache knows them; images are not.

    Args:
        label: what of a mask is tumour, see data/labels.py.

    Raises:
        ValueError: anything that ``scan`` lists or raises, a mask that cannot be read or is
            not binary, or a label that no mask has.
    """
    contents = scan(root, layout, label)
    table, problems = contents.table, contents.problems
    if problems:
        more = f" ({len(problems) - 1} more: brainseg check lists all)" if problems[1:] else ""
        raise ValueError(f"{problems[0]}{more}")
    places = list(table[["mask", *CUT]].itertuples(index=False, name=None))

    def measure(place: Place) -> tuple[int, int, str]:
        mask, index, axis, orientation = place
        read = read_labels(root, mask, index, axis, orientation, label)
        return int(read.mask_HW.sum()), read.labels, mask_digest(read.mask_HW)

    kind = f"areas-{label}" if label else "areas"
    measured = memoised(kind, root, places, measure, MEASURED)
    area = measured["area"]
    if fault := absent(label, int(np.bitwise_or.reduce(measured["labels"]))):
        raise ValueError(f"a label must occur in some mask, --label names {fault}; choose others")
    table.insert(4, "tumour", (area > 0).astype(int))
    table.insert(5, "tumour_pixels", area)
    return replace(contents, mask_digests=[digest.decode() for digest in measured["digest"]])


def scan(root: Path, layout: str = "auto", label: str = "") -> Contents:
    """Return a folder's contents, the table without its tumour columns.

    No pixel is read but those of a mask that has two roles.

    Raises:
        ValueError: root is not a folder, or holds no known layout, or more than one.
    """
    tree = tree_of(root)
    listing = Listing(root.resolve(), problems=problems_of(tree), label=label)
    layout = _layout(listing, tree, layout)
    table = list_rows(listing, tree, LISTERS[layout])
    account = account_for(listing, tree)
    if refuse_lost_patients(listing, account, layout):
        account = account_for(listing, tree)
    if table.empty and not listing.problems:
        raise ValueError(
            f"root must hold slices as {KNOWN[layout]}, {root} holds "
            f"{account.unused or 'none'}; check the path, or use --layout auto"
        )
    return Contents(
        layout,
        listing.channels,
        table,
        listing.problems,
        account,
        listing.manifest,
        listing.notes,
    )


def list_rows(listing: Listing, tree: Tree, lister: Lister) -> pd.DataFrame:
    """The table of a layout; problems are added to the listing."""
    names = tree.files if lister is list_manifest else set_copies_aside(listing, tree.files)
    lister(listing, names)
    table = pd.DataFrame(listing.rows, columns=list(COLUMNS))
    table = table.sort_values(["patient", "slice", "image"], ignore_index=True)
    _refuse_repeated_slices(listing, table)
    refuse_shared_files(listing)
    return table


def problems_of(tree: Tree) -> list[Problem]:
    return sorted(tree.problems.values(), key=str)


def tree_of(root: Path) -> Tree:
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise ValueError(f"root must be a folder of slices, {root} {what}; give the path of one")
    return list_tree(root.resolve())


def _layout(listing: Listing, tree: Tree, layout: str) -> str:
    if layout in LAYOUTS:
        return layout
    if layout != "auto":
        known = ", ".join(("auto", *LAYOUTS))
        raise ValueError(f"a layout must be one of {known}, got {layout!r}; use auto")
    if manifests(listing, tree.files):
        return "manifest"
    fitting = {name: files for name, looks in LOOKS.items() if (files := looks(tree.files))}
    if len(fitting) > 1:
        shown = (f"{name} ({len(files):,} files, as {files[0]})" for name, files in fitting.items())
        raise ValueError(
            f"root must have one layout, {listing.root} looks like {' and '.join(shown)}; "
            "choose one with --layout, or move the others out of it"
        )
    if not fitting:
        raise ValueError(_no_layout(listing, tree))
    return next(iter(fitting))


def _no_layout(listing: Listing, tree: Tree) -> str:
    """That no layout fits, which comes nearest, and what else is wrong."""
    account = account_for(listing, tree)
    others = account.described(tree.others)
    near = nearest_layout(listing.root, tree.files)
    if near:
        remedy = f"correct that, check the path, or write {MANIFEST}"
    elif tree.files:
        remedy = "check the path, or convert the files to NIfTI, PNG or TIFF (DICOM: with dcm2niix)"
    elif NOWHERE in tree.others.values():
        remedy = "fetch what the links lead to, as with datalad get, or check the path"
    else:
        remedy = "check the path"
    holds = f"comes nearest to {near}" if near else f"holds {account.unused or 'no file'}"
    beside = f", and holds {others}" if near and others else ""
    more = f"; and {listing.problems[0]}" if listing.problems else ""
    return (
        f"root must hold slices in a known layout, {listing.root} {holds}{beside}; {remedy}{more}"
    )


def _refuse_repeated_slices(listing: Listing, table: pd.DataFrame) -> None:
    """Add one problem for each patient: its whole folder may be there twice."""
    twice = table[table.duplicated(["patient", "slice"], keep=False)]
    for patient, rows in twice.groupby("patient"):
        first, second = rows["image"].iloc[:2]
        number = rows["slice"].iloc[0]
        rule, remedy = (
            "a patient must have one slice of each number",
            "remove or rename one, or give different patients different names",
        )
        fault = f"and {first} are both slice {number} of {patient}"
        more = f" ({len(rows)} of its images share a number)" if len(rows) > 2 else ""
        listing.refuse(second, rule, fault + more, remedy)
