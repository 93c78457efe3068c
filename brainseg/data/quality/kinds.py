"""What differs between patients that are trained on as one set: a sentence for each difference.

None of it is an error: a network may learn from thick and thin slices together. But it learns
little from the one patient who is cut in another plane, and somebody should know.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from brainseg.data.readers import nifti
from brainseg.data.readers.geometry import CANONICAL
from brainseg.data.readers.paths import JOINT, confined
from brainseg.data.readers.problems import counted, some
from brainseg.data.table import MILLIMETRES

PLANES = ("sagittal", "coronal", "axial")  # by the canonical axis that is cut across
SHOWN = 6  # kinds; others are counted
SLICES = 3  # times the median of slices per patient, or less than the median divided by it


def stored_axes(root: Path, table: pd.DataFrame) -> "pd.Series[str]":
    """Where the axes of each patient's volume point in its file, as LPS; no row for pictures."""
    first = table[table["axis"] >= 0].groupby("patient")[["image", "orientation"]].first()
    axes = []
    for image, orientation in first.itertuples(index=False, name=None):
        name = image.split(JOINT)[0]
        file = confined(root, name)
        axes.append(nifti.geometry(file, name, orientation or CANONICAL).orientation)
    return pd.Series(axes, first.index, dtype=str)


def differences(table: pd.DataFrame, axes: "pd.Series[str]") -> Iterator[str]:
    """A sentence for each respect in which patients differ, with the patients of the rarer kinds.

    Args:
        table: columns as in data/quality/summary.py.
        axes: see ``stored_axes``.
    """
    if table.empty:
        return
    patients = table["patient"]
    row_mm, column_mm, slice_mm = (_millimetres(table[name]) for name in MILLIMETRES)
    volumes = table["axis"] >= 0
    for what, values in (
        ("patients are cut in {} planes", table["axis"][volumes].map(PLANES.__getitem__)),
        ("volumes are stored along {} sets of axes, all are turned to one", axes),
        ("pixels have {} sizes", (row_mm + " x " + column_mm).str.replace(UNKNOWN_BOTH, UNKNOWN)),
        ("slices have {} distances", slice_mm),
        (
            "images have {} number types, 8 bits are taken as they are and others are scaled by "
            "patient",
            table["type"],
        ),
        ("slices have {} sizes, all will be padded to squares and resized", _sizes(table)),
    ):
        of_patient = values if values is axes else values.groupby(patients).agg(_all)
        kinds = {str(kind): list(rows.index) for kind, rows in of_patient.groupby(of_patient)}
        if len(kinds) > 1:
            yield f"{what.format(len(kinds))}: {_listed(kinds)}"
    yield from _unusual_counts(table)


UNKNOWN = "of unknown size"
UNKNOWN_BOTH = f"{UNKNOWN} x {UNKNOWN}"


def _millimetres(lengths: "pd.Series[float]") -> "pd.Series[str]":
    """Rounded to 3 digits: headers of one protocol differ in the last ones."""
    return lengths.map(lambda mm: UNKNOWN if pd.isna(mm) else f"{mm:.3g} mm")


def _sizes(table: pd.DataFrame) -> "pd.Series[str]":
    return table["height"].astype(str) + "x" + table["width"].astype(str)


def _all(values: "pd.Series[str]") -> str:
    return " and ".join(sorted(set(values)))


def _listed(kinds: dict[str, list[str]]) -> str:
    """The kinds with their patients, the most frequent one first and without names."""
    usual, *others = sorted(kinds, key=lambda kind: (-len(kinds[kind]), kind))
    rare = [
        f"{kind} ({counted(len(kinds[kind]), 'patient')}: {some(kinds[kind])})"
        for kind in others[: SHOWN - 1]
    ]
    more = [f"and {len(others) - len(rare)} more kinds"] * (len(others) > len(rare))
    return ", ".join([f"{usual} ({counted(len(kinds[usual]), 'patient')})", *rare, *more])


def _unusual_counts(table: pd.DataFrame) -> Iterator[str]:
    counts = table.groupby("patient").size()
    median = counts.median()
    unusual = counts[(counts * SLICES < median) | (counts > SLICES * median)]
    if len(unusual):
        named = some(f"{patient} ({count})" for patient, count in unusual.items())
        yield (
            f"{len(unusual)} of {len(counts)} patients have less than a third of the usual number "
            f"of slices ({median:g}), or more than {SLICES} times as many: {named}"
        )
