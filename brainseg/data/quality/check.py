"""Read every file of a data set and list all its problems at once.

What is unusual but can be trained on is a note, not a problem; data/quality/summary.py finds it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.formats.detect import scan
from brainseg.data.formats.roles import IN_ONE_FOLDER
from brainseg.data.pack.intensity import require_one_type
from brainseg.data.quality.backgrounds import backgrounds, bright_among_dark
from brainseg.data.quality.duplicates import Hash, Twins, hash_slice, repeats, twins
from brainseg.data.quality.kinds import differences, stored_axes
from brainseg.data.quality.labels import absent_labels, unlike_palettes
from brainseg.data.quality.levels import faults_of_levels
from brainseg.data.quality.outliers import Outlier, outlier_slices
from brainseg.data.quality.shared_masks import mask_notes, padded_tumour, shown_mask
from brainseg.data.quality.summary import (
    DESCRIBED,
    listing_notes,
    notes,
    picture_notes,
    summarise,
)
from brainseg.data.quality.vanishing import vanished
from brainseg.data.readers.decode import DECODERS
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
    image_size: int = TrialConfig().image_size,
) -> Findings:
    """Read every image and mask under ``root``; return problems, notes, figures and outliers.

    Args:
        label: what of a mask is tumour, see data/labels.py.
        image_size: of the training, in pixels a side: tumours that vanish at it are noted.
        progress: yields the results, one a patient, and shows how many of all are done.

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
    problems += [*_inconsistent(readable), *absent_labels(label, readable)]
    problems = list(dict.fromkeys(problems))  # a volume is named once, not once a slice
    masked = readable["tumour_pixels"].notna()
    table = readable[masked].astype({"tumour": int, "tumour_pixels": int}).reset_index(drop=True)
    lost = vanished(table, root, image_size)
    return Findings(
        root=root,
        table=table,
        problems=[*problems, *lost.problems(), *_leaks(readable, same, _copied(problems))],
        notes=[
            *listing_notes(contents.notes),
            *notes(listing, table, names, again),
            *mask_notes(listing, [look.mask_digest for look in looks], _sharing(readable, same)),
            *_notes_on_files(root, table, dict(zip(listing["image"], looks, strict=True))),
            *lost.notes(),
        ],
        summary={
            "layout": contents.layout,
            "manifest": contents.manifest,
            "label": label,
            "channel_names": list(names),
            "files": contents.account.used,
            "not_used": contents.account.unused,
            "listed": {"patients": listing["patient"].nunique(), "slices": len(listing)},
            **summarise(table),
        },
        outliers=outlier_slices(listing, readable, problems, same, names),
    )


def _notes_on_files(root: Path, table: pd.DataFrame, looks: Mapping[str, Look]) -> Iterator[str]:
    yield from differences(table, stored_axes(root, table))
    yield from bright_among_dark(table)
    yield from unlike_palettes(table)
    yield from picture_notes({name: look.traits for name, look in looks.items()})


def _read_all(root: Path, listing: pd.DataFrame, progress: Progress) -> list[Look]:
    """One look for each row; one thread reads all slices of a patient, whose scale they share."""
    rows = listing.to_dict("records")
    patients = [list(slices) for _, slices in groupby(rows, lambda row: row["patient"])]
    with ThreadPoolExecutor(DECODERS) as pool:
        looks = pool.map(lambda slices: _read_patient(root, slices), patients)
        return [look for slices in progress(looks, len(patients)) for look in slices]


def _read_patient(root: Path, rows: Sequence[Row]) -> list[Look]:
    images: list[NDArray[Any]] = []
    looks = [_read_slice(root, row, images) for row in rows]
    levels, sides = faults_of_levels(images), backgrounds(images)
    for look in looks:
        if look.described is not None:
            look.described.update(levels=levels, background=sides)
    return looks


def _read_slice(root: Path, row: Row, earlier: list[NDArray[Any]]) -> Look:
    """What is kept of a slice; its image is added to ``earlier``, those of its patient."""
    problems: list[Problem] = []
    place = tuple(row[name] for name in CUT)
    picture = _read(problems, read_picture, root, row["image"], *place)
    mask = _read(problems, read_labels, root, row["mask"], *place, row["label"])
    if picture is None:
        return Look(problems, None, None)
    image_HWC = picture.samples_HWC
    earlier.append(image_HWC)
    types = image_HWC.dtype, row["patient"], earlier[0].dtype
    _read(problems, require_one_type, row["image"], *types)
    described = _described(image_HWC)
    digest = ""
    if mask is not None:
        mask_HW, digest = mask.mask_HW, mask_digest(mask.mask_HW)
        problems += shown_mask(row["image"], image_HWC, row["mask"], mask_HW)
        problems += padded_tumour(row["image"], picture.padded_HW, row["mask"], mask_HW)
        _read(problems, require_same_size, row["image"], image_HWC, row["mask"], mask_HW)
        area = int(np.count_nonzero(mask_HW))
        described |= {"tumour": int(area > 0), "tumour_pixels": area}
        described |= {"labels": mask.labels, "colours": mask.colours}
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
        "colours": {},
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
    """Images with another number of channels than most: a sweep trains on one number."""
    channels = readable["channels"]
    if len(readable):
        usual = channels.mode().iloc[0]
        rule = "all images must have the same number of channels"
        for row in readable.index[channels != usual]:
            held = f"has {channels[row]}, most have {usual}"
            yield Problem(readable["image"][row], rule, held, "convert it, or leave it out")


def _sharing(readable: pd.DataFrame, same: Sequence[Twins]) -> dict[tuple[str, str], list[Twins]]:
    """The slices that two patients share, equal ones first."""
    patients = readable["patient"].tolist()
    pairs: dict[tuple[str, str], list[Twins]] = {}
    for pair in sorted(same, key=lambda pair: not pair.equal):
        pairs.setdefault((patients[pair.first], patients[pair.second]), []).append(pair)
    return pairs


def _copied(problems: Iterable[Problem]) -> tuple[str, ...]:
    """Folders that are refused as copies of others."""
    return tuple(f"{problem.file}/" for problem in problems if problem.rule == IN_ONE_FOLDER)


def _leaks(
    readable: pd.DataFrame, same: Sequence[Twins], copied: tuple[str, ...]
) -> Iterator[Problem]:
    """Pairs of patients that share slices, each reported once, at its first pair of slices.

    Not those of one last folder of which one lies in ``copied``: they are reported already.
    """
    for patients, (first, *others) in _sharing(readable, same).items():
        last = {patient.rpartition("/")[2] for patient in patients}
        if len(last) == 1 and any(f"{patient}/".startswith(copied) for patient in patients):
            continue
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
