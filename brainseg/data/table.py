"""The table of slices, which is all that other modules know of a data set: one row for each.

Sorted by patient and slice number, with these columns:
    patient        str
    slice          int, as the file name has it, or the position in a volume counted from 1
    image, mask    str, paths relative to the root, with forward slashes; several files that hold
                   the channels of one slice are joined by "|"
    tumour         int, 1 where the mask holds any tumour
    tumour_pixels  int, at the size on disk
    index, axis    int, where a volume is cut, counted from 0; -1 and -1 for a 2-D file
    orientation    str, where the stored axes point in files of a volume that do not say it, as LPS
                   (left, back, up); "" for RAS, the axes by which volumes are cut
    label          str, what of the mask is tumour: "" where it holds nothing else, "whole" for
                   anything above 0, or the numbers of labels, as 1+4
    site           str, where the patient was scanned; "" if unknown
    row_mm, column_mm, slice_mm
                   float, from one row, column or slice to the next; NaN if unknown
"""

from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.records.files import RESTORE, Unreadable, readable
from brainseg.records.run import START_AGAIN

MILLIMETRES = ("row_mm", "column_mm", "slice_mm")
CUT = ("index", "axis", "orientation")  # where a slice lies in its files
LATER = ("orientation", "label")  # columns that tables of older runs lack: ""
COLUMNS = ("patient", "slice", "image", "mask", "index", "axis", "site", *MILLIMETRES, *LATER)


def read_table(
    path: Path,
    *,
    columns: Collection[str] = ("patient",),
    numbers: Collection[str] = (),
    remedy: str = RESTORE,
) -> pd.DataFrame:
    """Read a table that ``to_csv`` wrote; a patient may be called NA or 007.

    Args:
        columns: that it must have.
        numbers: those that hold nothing but numbers.

    Raises:
        Unreadable: it is missing, is cut short, or is no such table.
    """
    text = dict.fromkeys(("patient", "person", "image", "mask", "site", *LATER), str)
    blank = {name: [""] for name in MILLIMETRES}
    with readable(path, remedy):
        content = path.read_bytes().decode("utf-8")
    if not content.endswith("\n"):
        fault = "its last line is cut short" if content else "it is empty"
        raise Unreadable(path, fault, remedy)
    try:
        table = pd.read_csv(StringIO(content), dtype=text, keep_default_na=False, na_values=blank)
    except ValueError as error:  # pandas has several kinds
        raise Unreadable(path, f"it is no table ({str(error).strip()})", remedy) from None
    if lacking := [name for name in (*columns, *numbers) if name not in table]:
        raise Unreadable(path, f"it has no column {', '.join(lacking)}", remedy)
    for name in numbers:
        if table[name].dtype.kind not in "iuf" and len(table):
            raise Unreadable(path, f"its column {name} holds other things than numbers", remedy)
    return table


def read_slices(path: Path) -> pd.DataFrame:
    """The table of slices that a run keeps, with the part of each."""
    table = read_table(
        path,
        columns=("patient", "image", "mask", "part"),
        numbers=("slice", "tumour"),
        remedy=START_AGAIN,
    )
    return table.assign(**{name: "" for name in LATER if name not in table})


def with_columns(path: Path, columns: pd.DataFrame) -> str:
    """The table at ``path`` as text, to the byte as it is, and the ``columns`` that it lacks."""
    cells = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for name in columns:
        if name not in cells:
            cells[name] = columns[name].to_numpy()
    return str(cells.to_csv(index=False))


def tumour_volumes(table: pd.DataFrame) -> tuple["pd.Series[Any]", str]:
    """Each row's tumour, and its unit: "ml" where the spacing of all is known, else "pixels"."""
    pixels = table["tumour_pixels"]
    known = set(MILLIMETRES) <= set(table) and len(table) > 0
    if not known or table[list(MILLIMETRES)].isna().any(axis=None):
        return pixels, "pixels"
    return pixels * table[list(MILLIMETRES)].prod(axis=1) / 1000, "ml"
