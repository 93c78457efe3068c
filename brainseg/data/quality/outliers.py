"""Which slices of a data set a person should look at, a few of each kind.

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
class Odd:
    """A slice to show, and why."""

    why: str
    name: str  # patient and slice number
    image: str
    mask: str  # "" where there is nothing to outline
    index: int
    axis: int
    channels: tuple[int, ...]  # side by side


def odd_slices(
    listing: pd.DataFrame,
    shown: pd.DataFrame,
    problems: Sequence[Problem],
    same: Sequence[Twins],
    names: Sequence[str],
) -> list[Odd]:
    """Slices with problems, shared ones, copied channels, extreme tumours, extreme grey levels.

    Args:
        listing: every slice.
        shown: those whose image can be read.
        problems: all but those of ``same``, the slices that two patients share.
        names: of the channels, see data/channels.py.
    """
    best = [flair_channel(names, held) or 0 for held in shown["channels"]]
    shown = shown.assign(best=np.array(best, int))
    return [
        *islice(_broken(listing, problems), PROBLEMS),
        *_shared(shown, same),
        *islice(_copied(shown, names), COPIES),
        *_tumours(shown),
        *_grey_levels(shown),
    ]


def _broken(listing: pd.DataFrame, problems: Sequence[Problem]) -> Iterator[Odd]:
    """Files with a problem, a mask in place of its image if the mask is what is wrong."""
    row_of = {
        name: (row, column)
        for column in ("image", "mask")
        for row, name in zip(listing.index, listing[column], strict=True)
    }
    for problem in problems:
        if problem.file in row_of:
            row, column = row_of[problem.file]
            yield _odd(listing.loc[row], f"{column} {problem.found}", image=problem.file, mask="")


def _shared(shown: pd.DataFrame, same: Sequence[Twins]) -> Iterator[Odd]:
    """One pair of slices of each pair of patients, equal ones first."""
    patients = shown["patient"].tolist()
    pairs: dict[tuple[str, str], Twins] = {}
    for pair in sorted(same, key=lambda pair: not pair.equal):
        pairs.setdefault((patients[pair.first], patients[pair.second]), pair)
    for pair in islice(pairs.values(), PAIRS):
        one, other = shown.iloc[pair.first], shown.iloc[pair.second]
        yield _odd(one, f"shows what {_name(other)} shows")
        yield _odd(other, f"shows what {_name(one)} shows")


def _copied(shown: pd.DataFrame, names: Sequence[str]) -> Iterator[Odd]:
    """The middle slice of patients whose channels are copies throughout, all channels of it."""
    for _, slices in shown.groupby("patient"):
        copies = copied_channels(slices, names)
        if copies:
            row = slices.iloc[len(slices) // 2]
            said = ", ".join(f"channel {a} equals channel {b}" for a, b in copies.items())
            yield _odd(row, said, mask="", channels=tuple(range(row["channels"])))


def _tumours(shown: pd.DataFrame) -> Iterator[Odd]:
    """Of each patient the smallest and the largest cut through the tumour; the extremes of all."""
    area = shown["tumour_pixels"][shown["tumour_pixels"] > 0].astype(int)
    per_patient = area.groupby(shown["patient"])
    smallest = area[per_patient.idxmin()].sort_values(kind="stable").head(EXTREMES)
    largest = area[per_patient.idxmax()].sort_values(kind="stable").tail(EXTREMES)
    for said, areas in (("smallest", smallest), ("largest", largest)):
        for row, pixels in zip(areas.index.tolist(), areas, strict=True):
            yield _odd(shown.iloc[row], f"one of the {said} tumours of a slice: {pixels:,} px")


def _grey_levels(shown: pd.DataFrame) -> Iterator[Odd]:
    """Of each patient the slice that is brightest on average; the extremes of these."""
    mean = pd.Series([float(np.mean(levels)) for levels in shown["mean"]], shown.index, dtype=float)
    brightest = mean.loc[mean.groupby(shown["patient"]).idxmax()].sort_values(kind="stable")
    if len(brightest) <= 2 * EXTREMES:
        return
    ends = (("darkest", brightest.head(EXTREMES)), ("brightest", brightest.tail(EXTREMES)))
    for said, values in ends:
        for row, level in zip(values.index.tolist(), values, strict=True):
            why = f"one of the {said} patients: grey level {level:.4g} on average"
            yield _odd(shown.iloc[row], why)


def _odd(
    row: pd.Series,
    why: str,
    *,
    image: str | None = None,
    mask: str | None = None,
    channels: tuple[int, ...] | None = None,
) -> Odd:
    """The slice of a row: by default its FLAIR, else its first channel, with its mask outlined."""
    return Odd(
        why=why,
        name=_name(row),
        image=row["image"] if image is None else image,
        mask=row["mask"] if mask is None else mask,
        index=int(row["index"]),
        axis=int(row["axis"]),
        channels=(int(row.get("best", 0)),) if channels is None else channels,
    )


def _name(row: pd.Series) -> str:
    return f"{row['patient']} {row['slice']}"
