"""A split in the terminal, and as a file that ``--split`` reads back."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from brainseg.data.splits.draw import (
    PARTS,
    Groups,
    locked_and_folds,
    shared_patients,
    split_rows,
)
from brainseg.data.table import tumour_volumes
from brainseg.process import plain
from brainseg.records.files import write_text
from brainseg.report.columns import plain_table
from brainseg.report.sentences import LEAK


def describe_parts(table: pd.DataFrame, parts: pd.Series) -> pd.DataFrame:
    """One row a part: part, patients, slices, tumour_slices, the quartiles volume_q1 to volume_q3
    of the patients' tumours (unit as ``tumour_volumes`` has it), and sites as "DU 9, HT 7"."""
    volumes, _ = tumour_volumes(table)
    described = []
    for part, rows in table.groupby(parts):
        patients = rows["patient"]
        low, median, high = volumes[rows.index].groupby(patients).sum().quantile([0.25, 0.5, 0.75])
        sites = rows["site"].groupby(patients).min().value_counts()
        described.append(
            {
                "part": part,
                "patients": patients.nunique(),
                "slices": len(rows),
                "tumour_slices": int(rows["tumour"].sum()),
                "volume_q1": low,
                "volume_median": median,
                "volume_q3": high,
                "sites": ", ".join(f"{site or 'unknown'} {n}" for site, n in sites.items()),
            }
        )
    others = sorted(set(parts) - set(PARTS), key=lambda part: (len(part), part))  # fold 2, fold 10
    order = [*PARTS, *others]
    return pd.DataFrame(described).sort_values("part", key=lambda part: part.map(order.index))


def print_parts(table: pd.DataFrame, parts: pd.Series, console: Console) -> None:
    """What each part holds, and whether the split leaks."""
    volume = f"Tumour of a patient, {tumour_volumes(table)[1]}"
    heads = ("Part", "Patients", "Slices", "With tumour", volume, "Sites")
    overview = plain_table(heads, left=("Part", "Sites"))
    for row in describe_parts(table, parts).to_dict("records"):
        low, median, high = (f"{row[f'volume_{q}']:,.4g}" for q in ("q1", "median", "q3"))
        counts = (str(row[name]) for name in ("patients", "slices", "tumour_slices"))
        cells = (row["part"], *counts, f"{median} ({low} to {high})", plain(row["sites"]))
        overview.add_row(*map(Text, cells))
    console.print(overview)
    console.print(Text("Tumour: median, and the middle half of the patients.", style="dim"))
    if shared_patients(table, parts):
        console.print(Text(LEAK, style="red"))


def fold_names(
    table: pd.DataFrame, parts: pd.Series, k: int, seed: int | Sequence[int], groups: Groups
) -> pd.Series:
    """'fold 0' to 'fold <k - 1>' for each row, 'test' where ``parts`` locks it away.

    Args:
        seed: see ``fold_patients``.
    """
    folds = locked_and_folds(table, parts, k, seed, groups)
    return parts.where(folds < 0, "fold " + folds.astype(str))


def write_parts(table: pd.DataFrame, parts: pd.Series, out: Path) -> list[Path]:
    """Write the split to ``out``; with folds one file each: split-0.csv validates on fold 0."""
    folds = sorted({part for part in parts if part not in PARTS})
    if not folds:
        write_text(out, split_rows(table, parts).to_csv(index=False))
        return [out]
    written = []
    for fold in folds:
        of_fold = parts.where(parts == "test", "train").mask(parts == fold, "validation")
        path = out.with_stem(f"{out.stem}-{fold.removeprefix('fold ')}")
        written += write_parts(table, of_fold, path)
    return written
