"""The columns of folds in a table of slices, and which rows train and validate under them."""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FOLD = "fold"  # the column of folds that serve all seeds
FOLD_OF_SEED = re.compile(rf"{FOLD}_(\d+)")  # of folds that were cut for one seed
Rows = NDArray[np.int64]


def fold_column(seed: int) -> str:
    """The column of the folds that were cut for ``seed``."""
    return f"{FOLD}_{seed}"


def seeds_of_folds(table: pd.DataFrame) -> list[int]:
    """The seeds for each of which the folds of ``table`` were cut anew."""
    return [int(match[1]) for name in table if (match := FOLD_OF_SEED.fullmatch(str(name)))]


def folds_of(table: pd.DataFrame, seed: int) -> "pd.Series | None":
    """Each row's fold under ``seed``, -1 if it is locked; None if the split has no folds."""
    if (column := fold_column(seed)) in table:
        return table[column]
    if FOLD in table:
        return table[FOLD]
    assert not seeds_of_folds(table), f"no folds were cut for seed {seed}"
    return None


def rows_of(table: pd.DataFrame, fold: int = 0, seed: int = 0) -> tuple[Rows, Rows]:
    """Positions of the training rows and of the validation rows, those of ``fold``.

    ``table`` has the column part. If the split has folds, it has the column fold_<seed>, or the
    column fold where all seeds have the same ones: a search, and any run of earlier versions.
    """
    folds = folds_of(table, seed)
    if folds is None:
        assert fold == 0, "a split without folds has only one to validate with"
        return np.flatnonzero(table["part"] == "train"), np.flatnonzero(
            table["part"] == "validation"
        )
    unlocked, validates = table["part"] != "test", folds == fold
    return np.flatnonzero(unlocked & ~validates), np.flatnonzero(unlocked & validates)
