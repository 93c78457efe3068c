"""The slices of a data set that a person should look at, a few of each kind.

The tables are those of data/quality/summary.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from brainseg.data.channels import flair_channel
from brainseg.data.quality.duplicates import Twins
from brainseg.data.quality.summary import copied_channels
from brainseg.data.readers.problems import Problem

PROBLEMS, PAIRS, COPIES, EXTREMES = 12, 4, 6, 2  # at most so many of a kind


@dataclass(frozen=True)
class Outlier:
    """A slice to show, and the reason."""

    why: str
    name: str  # patient and slice number
    image: str
    mask: str  # "" where there is nothing to outline
    cut: tuple[int, int, str]  # as table.CUT
    label: str
    channels: tuple[int, ...]  # side by side


def outlier_slices(
    listing: pd.DataFrame,
    readable: pd.DataFrame,
    problems: Sequence[Problem],
    same: Sequence[Twins],
    names: Sequence[str],
) -> list[Outlier]:
    """Slices with problems, shared ones, copied channels, extreme tumours, extreme grey levels.

    Args:
        listing: every slice.
        readable: those whose image can be read.
        problems: all but slices shared by two patients.
        same: these shared slices.
        names: of the channels, see data/channels.py.
    """
    best = [flair_channel(names, held) or 0 for held in readable["channels"]]
    readable = readable.assign(best=np.array(best, int))
    return [
        *islice(_broken(listing, problems), PROBLEMS),
        *_shared(readable, same),
        *islice(_copied(readable, names), COPIES),
        *_tumours(readable),
        *_grey_levels(readable),
    ]


def _broken(listing: pd.DataFrame, problems: Sequence[Problem]) -> Iterator[Outlier]:
    """Files with a problem: the image, or the mask in its place if the mask has the problem."""
    row_of = {
        name: (row, column)
        for column in ("image", "mask")
        for row, name in zip(listing.index, listing[column], strict=True)
    }
    for problem in problems:
        if problem.file in row_of:
            row, column = row_of[problem.file]
            yield _outlier(
                listing.loc[row], f"{column} {problem.fault}", image=problem.file, mask=""
            )


def _shared(readable: pd.DataFrame, same: Sequence[Twins]) -> Iterator[Outlier]:
    """One pair of slices for each pair of patients, equal ones first."""
    patients = readable["patient"].tolist()
    pairs: dict[tuple[str, str], Twins] = {}
    for pair in sorted(same, key=lambda pair: not pair.equal):
        pairs.setdefault((patients[pair.first], patients[pair.second]), pair)
    for pair in islice(pairs.values(), PAIRS):
        first, second = readable.iloc[pair.first], readable.iloc[pair.second]
        yield _outlier(first, f"shows the same as {_name(second)}")
        yield _outlier(second, f"shows the same as {_name(first)}")


def _copied(readable: pd.DataFrame, names: Sequence[str]) -> Iterator[Outlier]:
    """The middle slice, with all channels, of patients whose channels are copies in every slice."""
    for _, slices in readable.groupby("patient"):
        copies = copied_channels(slices, names)
        if copies:
            row = slices.iloc[len(slices) // 2]
            why = ", ".join(f"channel {a} equals channel {b}" for a, b in copies.items())
            yield _outlier(row, why, mask="", channels=tuple(range(row["channels"])))


def _tumours(readable: pd.DataFrame) -> Iterator[Outlier]:
    """The smallest of the patients' smallest tumour areas, and the largest of their largest."""
    area = readable["tumour_pixels"][readable["tumour_pixels"] > 0].astype(int)
    per_patient = area.groupby(readable["patient"])
    smallest = area[per_patient.idxmin()].sort_values(kind="stable").head(EXTREMES)
    largest = area[per_patient.idxmax()].sort_values(kind="stable").tail(EXTREMES)
    for extreme, areas in (("smallest", smallest), ("largest", largest)):
        for row, pixels in zip(areas.index.tolist(), areas, strict=True):
            yield _outlier(readable.iloc[row], f"one of the {extreme} tumour areas: {pixels:,} px")


def _grey_levels(readable: pd.DataFrame) -> Iterator[Outlier]:
    """The patients whose brightest slice is darkest, and brightest, on average."""
    mean = pd.Series(
        [float(np.mean(levels)) for levels in readable["mean"]], readable.index, dtype=float
    )
    brightest = mean.loc[mean.groupby(readable["patient"]).idxmax()].sort_values(kind="stable")
    if len(brightest) <= 2 * EXTREMES:
        return
    ends = (("darkest", brightest.head(EXTREMES)), ("brightest", brightest.tail(EXTREMES)))
    for extreme, values in ends:
        for row, level in zip(values.index.tolist(), values, strict=True):
            why = f"one of the {extreme} patients: mean grey level {level:.4g}"
            yield _outlier(readable.iloc[row], why)


def _outlier(
    row: pd.Series,
    why: str,
    *,
    image: str | None = None,
    mask: str | None = None,
    channels: tuple[int, ...] | None = None,
) -> Outlier:
    """The slice of a row: by default its FLAIR, else its first channel, with its mask outlined."""
    return Outlier(
        why=why,
        name=_name(row),
        image=row["image"] if image is None else image,
        mask=row["mask"] if mask is None else mask,
        cut=(int(row["index"]), int(row["axis"]), row["orientation"]),
        label=row["label"],
        channels=(int(row.get("best", 0)),) if channels is None else channels,
    )


def _name(row: pd.Series) -> str:
    return f"{row['patient']} {row['slice']}"
