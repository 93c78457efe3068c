"""Read every file of a data set and list all its problems at once.

What is unusual but can be trained on is a note, not a problem; data/quality/summary.py finds it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.formats.detect import scan
from brainseg.data.quality.duplicates import Hash, Twins, hash_slice, repeats, twins
from brainseg.data.quality.labels import absent_labels
from brainseg.data.quality.outliers import Outlier, outlier_slices
from brainseg.data.quality.shared_masks import mask_notes, shown_mask
from brainseg.data.quality.summary import (
    DESCRIBED,
    listing_notes,
    notes,
    picture_notes,
    summarise,
)
from brainseg.data.readers.images import read_picture, require_same_size
from brainseg.data.readers.masks import mask_digest, read_labels
from brainseg.data.readers.problems import Problem, Refused
from brainseg.data.table import CUT

Row = dict[str, Any]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Findings:
    """What a check found."""

    root: Path
    table: pd.DataFrame  # readable slices; columns as in data/quality/summary.py
    problems: list[Problem]
    notes: list[str]
    summary: dict[str, Any]
    outliers: list[Outlier]


@dataclass(frozen=True)
class Look:
    """What is kept of a listed slice once its files were read."""

    problems: list[Problem]
    described: Row | None  # columns for the table; None if the image cannot be read
    hash: Hash | None
    traits: frozenset[str] = frozenset()  # of the image's file, see readers/picture.py
    mask_digest: str = ""  # see readers/masks.py


Progress = Callable[[Iterable[list[Look]], int], Iterable[list[Look]]]


def check(
    root: Path,
    layout: str = "auto",
    progress: Progress = lambda looks, files: looks,
    *,
    label: str = "",
) -> Findings:
    """Read every image and mask under ``root``; return problems, notes, figures and outliers.

    Args:
        label: what of a mask is tumour, see data/labels.py.
        progress: yields the results, one an image file, and shows how many of all are done.

    Raises:
        ValueError: root is not a folder, or holds no known layout.
    """
    contents = scan(root, layout, label)
    listing, problems, names = contents.table, contents.problems, contents.channels
    looks = _read_all(root, listing, progress)
    readable, hashes = _readable(listing, looks)
    same = twins(readable, hashes)
    again = [tuple(readable["image"][[k.first, k.second]]) for k in repeats(readable, hashes)]
    for look in looks:
        problems += look.problems
    problems += _inconsistent(readable)
    problems += absent_labels(label, readable)
    problems = list(dict.fromkeys(problems))  # a volume is named once, not once a slice
    masked = readable["tumour_pixels"].notna()
    table = readable[masked].astype({"tumour": int, "tumour_pixels": int}).reset_index(drop=True)
    return Findings(
        root=root,
        table=table,
        problems=[*problems, *_leaks(readable, same)],
        notes=[
            *listing_notes(contents.notes),
            *notes(listing, table, names, again),
            *mask_notes(listing, [look.mask_digest for look in looks], _sharing(readable, same)),
            *picture_notes(
                {k: look.traits for k, look in zip(listing["image"], looks, strict=True)}
            ),
        ],
        summary={
            "layout": contents.layout,
            "manifest": contents.manifest,
            "label": label,
            "channel_names": list(names),
            "files": contents.account.used,
            "not_used": contents.account.unused,
            **summarise(table),
        },
        outliers=outlier_slices(listing, readable, problems, same, names),
    )


def _read_all(root: Path, listing: pd.DataFrame, progress: Progress) -> list[Look]:
    """One look for each row; one thread reads all slices of a volume, and so opens it once."""
    rows = listing.to_dict("records")
    files = [list(slices) for _, slices in groupby(rows, lambda row: row["image"])]
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda slices: [_read_slice(root, row) for row in slices], files)
        return [look for slices in progress(looks, len(files)) for look in slices]


def _read_slice(root: Path, row: Row) -> Look:
    problems: list[Problem] = []
    place = tuple(row[name] for name in CUT)
    picture = _read(problems, read_picture, root, row["image"], *place)
    mask = _read(problems, read_labels, root, row["mask"], *place, row["label"])
    if picture is None:
        return Look(problems, None, None)
    image_HWC = picture.samples_HWC
    described = _described(image_HWC)
    digest = ""
    if mask is not None:
        mask_HW, labels = mask
        digest = mask_digest(mask_HW)
        problems += shown_mask(row["image"], image_HWC, row["mask"], mask_HW)
        _read(problems, require_same_size, row["image"], image_HWC, row["mask"], mask_HW)
        area = int(np.count_nonzero(mask_HW))
        described |= {"tumour": int(area > 0), "tumour_pixels": area, "labels": labels}
    return Look(problems, described, hash_slice(image_HWC), picture.traits, digest)


def _read(problems: list[Problem], read: Callable[..., Kept], *arguments: Any) -> Kept | None:
    """What ``read`` returns; or None, and one problem more, where it refuses."""
    try:
        return read(*arguments)
    except Refused as refused:
        problems.append(refused.problem)
        return None


def _described(image_HWC: NDArray[Any]) -> Row:
    planes_CHW = np.ascontiguousarray(image_HWC.transpose(2, 0, 1))
    pairs = combinations(range(len(planes_CHW)), 2)
    return {
        "height": image_HWC.shape[0],
        "width": image_HWC.shape[1],
        "channels": len(planes_CHW),
        "type": str(image_HWC.dtype),
        "low": tuple(float(plane.min()) for plane in planes_CHW),
        "mean": tuple(float(plane.mean()) for plane in planes_CHW),
        "high": tuple(float(plane.max()) for plane in planes_CHW),
        "labels": 0,
        "copies": tuple((a, b) for a, b in pairs if np.array_equal(planes_CHW[a], planes_CHW[b])),
    }


def _readable(listing: pd.DataFrame, looks: Sequence[Look]) -> tuple[pd.DataFrame, list[Hash]]:
    """The rows whose image can be read, and their hashes; without a mask, tumour is NaN."""
    rows = [number for number, look in enumerate(looks) if look.described is not None]
    columns = ["tumour", "tumour_pixels", *DESCRIBED]
    described = pd.DataFrame([looks[number].described for number in rows], columns=columns)
    named = listing.iloc[rows].reset_index(drop=True)
    parts = [named.iloc[:, :4], described.iloc[:, :2], named.iloc[:, 4:], described.iloc[:, 2:]]
    return pd.concat(parts, axis=1), [look.hash for look in looks if look.hash is not None]


def _inconsistent(readable: pd.DataFrame) -> Iterator[Problem]:
    """Images that differ from most others in what must be the same for all to be trained on."""
    size = readable["height"].astype(str) + "x" + readable["width"].astype(str)
    everywhere = pd.Series(0, readable.index)
    for values, among, rule in (
        (readable["channels"], everywhere, "all images must have the same number of channels"),
        (readable["type"], everywhere, "all images must have the same number type"),
        (size, readable["patient"], "all slices of a patient must have the same size"),
    ):
        usual = values.groupby(among).transform(lambda group: group.mode().iloc[0])
        for row in readable.index[values != usual]:
            held = f"has {values[row]}, most have {usual[row]}"
            yield Problem(readable["image"][row], rule, held, "convert it, or leave it out")


def _sharing(readable: pd.DataFrame, same: Sequence[Twins]) -> dict[tuple[str, str], list[Twins]]:
    """The slices that two patients share, equal ones first."""
    patients = readable["patient"].tolist()
    pairs: dict[tuple[str, str], list[Twins]] = {}
    for pair in sorted(same, key=lambda pair: not pair.equal):
        pairs.setdefault((patients[pair.first], patients[pair.second]), []).append(pair)
    return pairs


def _leaks(readable: pd.DataFrame, same: Sequence[Twins]) -> Iterator[Problem]:
    """Pairs of patients that share slices, each reported once, at its first pair of slices."""
    for first, *others in _sharing(readable, same).values():
        how = "pixel for pixel" if first.equal else "nearly"
        more = f" ({len(others)} more such pairs of slices)" if others else ""
        yield Problem(
            readable["image"][first.second],
            "an image must belong to one patient only",
            f"shows the same as {readable['image'][first.first]}, {how}{more}"
            + _disagreement(readable, first),
            "remove one, or put both under one patient; until then a split keeps both in one part",
        )


def _disagreement(readable: pd.DataFrame, pair: Twins) -> str:
    """How the masks of two equal images differ; "" if they do not."""
    first, second = readable["tumour_pixels"][[pair.first, pair.second]]
    differ = pair.equal and first != second
    return f", but its mask marks {second:.0f} pixels, the other's {first:.0f}" if differ else ""
