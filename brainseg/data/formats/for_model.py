"""Images that a model shall predict: a folder in any layout, single files, or a manifest.

Masks are optional, and so are the names that a layout asks for. A picture is a case of its own
unless its name ends in a slice's number, see ``pictures.case_of``; a volume is a case, or a channel
of one, see ``nifti_folders.list_nifti``. What cannot be used is a problem, the rest stays.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.data.channels import LGG, flair_channel
from brainseg.data.formats.account import USED, account_for
from brainseg.data.formats.detect import LISTERS, LOOKS, Lister, list_rows, problems_of, tree_of
from brainseg.data.formats.listing import COPY, Listing, copied, is_picture, is_volume, stem
from brainseg.data.formats.lost import may_be_data
from brainseg.data.formats.manifest import SUFFIXES, list_manifest, manifests
from brainseg.data.formats.nifti_folders import are_channels, list_nifti
from brainseg.data.formats.pictures import case_of, list_lgg
from brainseg.data.readers.contents import contents
from brainseg.data.readers.paths import JOINT, Tree
from brainseg.data.readers.problems import Problem

FILES = "files"  # pictures and volumes of any names, with masks beside them or without
OF_ANY_NAME = ("lgg", "nifti", FILES)
MASKS = ("masks", "labels", "labelsTr", "labelsTs", "segmentations")  # folders that hold no image
KINDS = "PNG, TIFF, JPEG or NIfTI files (.png, .tif, .tiff, .jpg, .jpeg, .nii, .nii.gz)"
CONVERT = "convert it, or move it out of the input"


@dataclass(frozen=True)
class Images:
    """What is to be predicted.

    Attributes:
        root: of all files.
        layout: as of a data set; "files" where names follow none.
        table: as of a data set, see data/table.py; ``mask`` is "" where there is none.
        channels: their names, () where unknown.
        problems: with files that are in no row of the table.
        unused: other things under the root, in words.
        unscored: images whose true mask cannot be used, and why.
    """

    root: Path
    layout: str
    table: pd.DataFrame
    channels: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    unused: str = ""
    unscored: dict[str, str] = field(default_factory=dict)


def find_images(
    paths: Sequence[Path],
    channels: int,
    names: Sequence[str] = (),
    *,
    layout: str = "auto",
    label: str = "",
) -> Images:
    """The images that ``paths`` name: one folder, one manifest, or files.

    Several volumes that are as many as the model takes channels, of one channel each, are the
    channels of one case, in the order of ``paths``.

    Args:
        channels: that the model takes.
        names: of these channels, in order; () where they are unknown.
        label: what of a mask is tumour, see data/labels.py.

    Raises:
        ValueError: a path that is not there, or of no known kind; nothing to predict.
    """
    first = paths[0]
    for path in paths:
        if not path.exists():
            raise ValueError(f"an input must exist, {path} does not; check the path")
        if path.is_dir() and len(paths) > 1:
            raise ValueError(f"an input must be one folder, or files; {path} is one of several")
    asked = Listing(_root(paths), label=label, for_model=channels)
    if first.is_dir():
        images = _of_folder(asked, first, layout)
    elif len(paths) == 1 and first.name.lower().endswith(SUFFIXES):
        asked.manifest = first.name
        images = _listed(asked, tree_of(asked.root), "manifest", list_manifest)
    else:
        images = _of_files(asked, paths)
    if images.table.empty and not images.problems:
        raise ValueError(f"an input must hold {KINDS}, {first} holds {images.unused or 'none'}")
    return _in_order(images, tuple(names))


def _root(paths: Sequence[Path]) -> Path:
    """The folder that all files lie in; what a link to a file names is the file."""
    if paths[0].is_dir():
        return paths[0].resolve()
    return Path(os.path.commonpath([path.resolve().parent for path in paths]))


def _of_folder(listing: Listing, folder: Path, layout: str) -> Images:
    if listing.root.name in MASKS:
        raise ValueError(
            f"an input must hold images, {folder} is a folder of masks by its name; name that of "
            "the images"
        )
    tree = tree_of(folder)
    listing.problems += problems_of(tree)
    layout = _layout(listing, tree) if layout == "auto" else layout
    lister = list_files if layout in OF_ANY_NAME else LISTERS[layout]
    return _listed(listing, tree, layout, lister)


def _layout(listing: Listing, tree: Tree) -> str:
    if manifests(listing, tree.files):
        return "manifest"
    if any(name.startswith(("imagesTr/", "imagesTs/")) for name in tree.files):
        return "nnunet"
    return next((name for name in ("pairs", "lgg", "nifti") if LOOKS[name](tree.files)), FILES)


def _of_files(listing: Listing, paths: Sequence[Path]) -> Images:
    names = [path.resolve().relative_to(listing.root).as_posix() for path in paths]
    for name, path in zip(names, paths, strict=True):
        if not (is_picture(name) or is_volume(name)):
            raise ValueError(f"an input must be a folder, a manifest (.csv) or {KINDS}, got {path}")
    tree, listing.named = Tree(sorted(set(names))), True
    if all(map(is_volume, names)) and are_channels(listing, names):

        def one(listing: Listing, _: list[str]) -> None:
            listing.volume(case_of(names[0])[0], JOINT.join(names), "")

        return _listed(listing, tree, FILES, one)
    return _listed(listing, tree, FILES, list_files)


def list_files(listing: Listing, names: list[str]) -> None:
    """Pictures and volumes, in one folder or in many."""
    list_lgg(listing, names)
    listing.channels = ()
    list_nifti(listing, names)


def _listed(listing: Listing, tree: Tree, layout: str, lister: Lister) -> Images:
    table = list_rows(listing, tree, lister)
    charged = listing.charged | {problem.file for problem in listing.problems}
    files = table["image"].str.split(JOINT, regex=False) + table["mask"].map(lambda name: [name])
    usable = np.array([charged.isdisjoint(names) for names in files], bool)
    table = table[usable].reset_index(drop=True)
    account = account_for(listing, tree)
    unused = [name for name, role in account.roles.items() if role not in USED]
    foreign = account.by_role(name for name in unused if may_be_data(account.roles[name]))
    problems = [
        Problem(names[0], f"an input must hold {KINDS}", _is(role, names), CONVERT)
        for role, names in foreign.items()
    ]
    used_names = LGG if layout == "lgg" else listing.channels
    problems = [*listing.problems, *problems]
    problems += _differing_copies(listing, tree)
    unused_words, unscored = account.unused, listing.unscored
    return Images(listing.root, layout, table, used_names, problems, unused_words, unscored)


def _differing_copies(listing: Listing, tree: Tree) -> list[Problem]:
    """Files that are called copies of another and are none."""
    copies = [name for name, kind in listing.aside.items() if kind == COPY]
    beside: dict[tuple[str, str], list[str]] = {}
    for name in tree.files if copies else []:
        beside.setdefault((name.rpartition("/")[0], stem(name)), []).append(name)
    pairs = {name: beside[name.rpartition("/")[0], copied(name)] for name in copies}
    held = contents(listing.root, [*pairs, *(name for names in pairs.values() for name in names)])
    rule, remedy = "a copy must be like the file beside it", "rename it, or remove it"
    return [
        Problem(name, rule, f"differs from {names[0]}", remedy)
        for name, names in pairs.items()
        if held[name] not in [held[other] for other in names]
    ]


def _is(role: str, names: Sequence[str]) -> str:
    more = f", as {len(names) - 1} more" if names[1:] else ""
    return f"is {role if role.startswith('.') else f'a {role}'}{more}"


def _require_flair_in_place(images: Images, wanted: tuple[str, ...]) -> None:
    """Refuse other names that say FLAIR is another channel than the model's."""
    if sorted(map(str.casefold, images.channels)) == sorted(map(str.casefold, wanted)):
        return
    places = [flair_channel(names, len(names)) for names in (images.channels, wanted)]
    if None not in places and places[0] != places[1]:
        raise ValueError(
            f"channels must be in the order of the model ({', '.join(wanted)}), the input has "
            f"{', '.join(images.channels)}; store them in that order, or list files of one "
            "channel each in a CSV manifest, joined by |"
        )


def _in_order(images: Images, wanted: tuple[str, ...]) -> Images:
    """With the files of channels in the model's order, where names say which is which.

    Raises:
        ValueError: they are in another order, and in one file.
    """
    held = [name.casefold() for name in images.channels]
    names = [name.casefold() for name in wanted]
    _require_flair_in_place(images, wanted)
    if held == names or sorted(held) != sorted(names) or len(set(names)) < len(names):
        return images
    apart = images.table["image"].str.count(re.escape(JOINT)) == len(held) - 1
    rule = f"channels in one file must be in the order of the model ({', '.join(wanted)})"
    fault = f"has {', '.join(images.channels)}"
    remedy = "store them in that order, or each in a file of its own"
    problems = [
        Problem(name, rule, fault, remedy) for name in images.table["image"][~apart].unique()
    ]
    if problems and not apart.any():
        raise ValueError(str(problems[0]))

    def ordered(image: str) -> str:
        files = image.split(JOINT)
        return JOINT.join(files[held.index(name)] for name in names)

    table = images.table[apart].reset_index(drop=True)
    table = table.assign(image=table["image"].map(ordered))
    return replace(
        images,
        table=table,
        channels=wanted,
        problems=[*images.problems, *problems],
        unscored={ordered(image): why for image, why in images.unscored.items() if JOINT in image},
    )
