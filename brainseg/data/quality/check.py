"""All that is wrong with a data set, listed at once: every file is read, none stops the pass.

What is odd but can be trained on is a note, not a problem; data/quality/summary.py finds it.
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
from brainseg.data.quality.outliers import Odd, odd_slices
from brainseg.data.quality.summary import SEEN, notes, summarise
from brainseg.data.readers.images import read_image, read_mask, require_same_size
from brainseg.data.readers.problems import Problem, Refused

Row = dict[str, Any]
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Findings:
    """What a check found."""

    root: Path
    table: (
        pd.DataFrame
    )  # slices whose image and mask can be read; columns as in data/quality/summary.py
    problems: list[Problem]
    notes: list[str]
    summary: dict[str, Any]
    odd: list[Odd]


@dataclass(frozen=True)
class Look:
    """What is kept of a row of the listing once its files were read."""

    problems: list[Problem]
    seen: Row | None  # columns for the table; None where the image cannot be read
    hash: Hash | None


Watch = Callable[[Iterable[list[Look]], int], Iterable[list[Look]]]


def check(root: Path, layout: str = "auto", watch: Watch = lambda looks, files: looks) -> Findings:
    """Read every image and mask under ``root``; tell what is wrong, odd or worth knowing.

    Args:
        watch: sees the results pass, one image file after the other, and how many there will be.

    Raises:
        ValueError: root is no folder, or holds no known layout.
    """
    contents = scan(root, layout)
    listing, problems, names = contents.table, contents.problems, contents.channels
    looks = _look_at_all(root, listing, watch)
    shown, hashes = _shown(listing, looks)
    same = twins(shown, hashes)
    again = repeats(shown, hashes)
    for look in looks:
        problems += look.problems
    problems += _unlike(shown)
    problems = list(dict.fromkeys(problems))  # a volume is named once, not once a slice
    masked = shown["tumour_pixels"].notna()
    table = shown[masked].astype({"tumour": int, "tumour_pixels": int}).reset_index(drop=True)
    return Findings(
        root=root,
        table=table,
        problems=[*problems, *_leaks(shown, same)],
        notes=notes(
            listing, table, names, [tuple(shown["image"][[k.first, k.second]]) for k in again]
        ),
        summary={
            "layout": contents.layout,
            "channel_names": list(names),
            **summarise(table),
        },
        odd=odd_slices(listing, shown, problems, same, names),
    )


def _look_at_all(root: Path, listing: pd.DataFrame, watch: Watch) -> list[Look]:
    """One look a row; the slices of a volume one after the other, so that it is opened once."""
    rows = listing.to_dict("records")
    files = [list(slices) for _, slices in groupby(rows, lambda row: row["image"])]
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda slices: [_look(root, row) for row in slices], files)
        return [look for slices in watch(looks, len(files)) for look in slices]


def _look(root: Path, row: Row) -> Look:
    problems: list[Problem] = []
    place = row["index"], row["axis"]
    image_HWC = _read(problems, read_image, root, row["image"], *place)
    mask_HW = _read(problems, read_mask, root, row["mask"], *place)
    if image_HWC is None:
        return Look(problems, None, None)
    seen = _seen(image_HWC)
    if mask_HW is not None:
        _read(problems, require_same_size, row["image"], image_HWC, row["mask"], mask_HW)
        seen |= {"tumour": int(mask_HW.any()), "tumour_pixels": int(np.count_nonzero(mask_HW))}
    return Look(problems, seen, hash_slice(image_HWC))


def _read(problems: list[Problem], read: Callable[..., Kept], *arguments: Any) -> Kept | None:
    """What ``read`` returns; or None, and one problem more, where it refuses."""
    try:
        return read(*arguments)
    except Refused as refused:
        problems.append(refused.problem)
        return None


def _seen(image_HWC: NDArray[Any]) -> Row:
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
        "copies": tuple((a, b) for a, b in pairs if np.array_equal(planes_CHW[a], planes_CHW[b])),
    }


def _shown(listing: pd.DataFrame, looks: Sequence[Look]) -> tuple[pd.DataFrame, list[Hash]]:
    """The rows whose image can be read, and their hashes; tumours are NaN without a mask."""
    rows = [number for number, look in enumerate(looks) if look.seen is not None]
    columns = ["tumour", "tumour_pixels", *SEEN]
    seen = pd.DataFrame([looks[number].seen for number in rows], columns=columns)
    named = listing.iloc[rows].reset_index(drop=True)
    parts = [named.iloc[:, :4], seen.iloc[:, :2], named.iloc[:, 4:], seen.iloc[:, 2:]]
    return pd.concat(parts, axis=1), [look.hash for look in looks if look.hash is not None]


def _unlike(shown: pd.DataFrame) -> Iterator[Problem]:
    """Images unlike most others in what a network or a scale of grey levels takes for granted."""
    size = shown["height"].astype(str) + "x" + shown["width"].astype(str)
    everywhere = pd.Series(0, shown.index)
    for values, among, rule in (
        (shown["channels"], everywhere, "all images must have the same number of channels"),
        (shown["type"], everywhere, "all images must have the same type of numbers"),
        (size, shown["patient"], "all slices of a patient must have the same size"),
    ):
        usual = values.groupby(among).transform(lambda group: group.mode().iloc[0])
        for row in shown.index[values != usual]:
            held = f"has {values[row]}, most have {usual[row]}"
            yield Problem(shown["image"][row], rule, held, "convert it, or leave it out")


def _leaks(shown: pd.DataFrame, same: Sequence[Twins]) -> Iterator[Problem]:
    """Pairs of patients that share slices, each told at its first pair of slices."""
    patients = shown["patient"].tolist()
    pairs: dict[tuple[str, str], list[Twins]] = {}
    for pair in sorted(same, key=lambda pair: not pair.equal):
        pairs.setdefault((patients[pair.first], patients[pair.second]), []).append(pair)
    for first, *others in pairs.values():
        how = "to the pixel" if first.equal else "nearly"
        more = f" ({len(others)} more such pairs of slices)" if others else ""
        yield Problem(
            shown["image"][first.second],
            "an image must stand in one patient only",
            f"shows what {shown['image'][first.first]} shows, {how}{more}"
            + _disagreement(shown, first),
            "remove one, or file both under one patient; until then a split keeps both on one side",
        )


def _disagreement(shown: pd.DataFrame, pair: Twins) -> str:
    """Whether the masks of one image differ."""
    one, other = shown["tumour_pixels"][[pair.first, pair.second]]
    differ = pair.equal and one != other
    return f", but marks {other:.0f} pixels where that marks {one:.0f}" if differ else ""
