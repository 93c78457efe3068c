"""Which labels the masks of a data set hold: what ``--label`` can choose from."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from brainseg.data.labels import absent, as_bits, held_by, numbers_of
from brainseg.data.readers.problems import Problem


def patients_by_label(table: pd.DataFrame) -> dict[str, int]:
    """How many patients have each label."""
    held = table.groupby("patient")["labels"].agg(np.bitwise_or.reduce)
    label = next(iter(table["label"]), "")
    names = Counter(name for bits in held for name in held_by(int(bits), label))
    return {name: names[name] for name in held_by(-1, label) if names[name]}


def absent_labels(label: str, table: pd.DataFrame) -> Iterator[Problem]:
    """The problem that a chosen label occurs nowhere."""
    if table.empty or table["tumour"].isna().any():  # a mask that is refused may hold it
        return
    held = int(np.bitwise_or.reduce(table["labels"].to_numpy()))
    if fault := absent(label, held):
        yield Problem(
            "--label", "a label must occur in some mask", f"names {fault}", "choose others"
        )


def unlike_palettes(table: pd.DataFrame) -> Iterator[str]:
    """The note that a chosen label has two colours: it may be other tissue in other masks."""
    if not numbers_of(next(iter(table["label"]), "")):
        return
    known: dict[int, tuple[str, str]] = {}
    unlike: dict[str, str] = {}
    for mask, colours in zip(table["mask"], table["colours"], strict=True):
        for label, colour in colours.items():
            usual, first = known.setdefault(label, (colour, mask))
            if colour != usual:
                unlike.setdefault(mask, f"{mask} has {colour} for {label}, {first} {usual}")
    for example in list(unlike.values())[:1]:
        yield (
            f"{len(unlike)} of {len(table)} masks have other colours for their labels than the "
            f"first one with them, so --label may choose other tissue: {example}"
        )


def of_two_kinds(table: pd.DataFrame) -> list[str]:
    """Patients whose masks mark tumour by 1 in some slices, and by 255 in others."""
    kinds = table[table["labels"].isin((as_bits([1], ""), as_bits([255], "")))]
    differ = kinds.groupby("patient")["labels"].nunique() > 1
    return [str(patient) for patient in differ.index[differ]]
