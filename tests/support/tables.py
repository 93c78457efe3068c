"""Tables of slices without files, for tests of who is held out."""

from collections.abc import Callable, Sequence

import pandas as pd
import pytest


def made_up_table(
    slices_per_patient: dict[str, list[int]], sites: Sequence[str] = ""
) -> pd.DataFrame:
    """A table without files: the tumour pixels of each slice, and one letter a patient as site."""
    letters = dict(zip(slices_per_patient, sites or [""] * len(slices_per_patient), strict=True))
    rows = [
        (patient, number, area, int(area > 0), letters[patient])
        for patient, areas in slices_per_patient.items()
        for number, area in enumerate(areas, 1)
    ]
    return pd.DataFrame(rows, columns=["patient", "slice", "tumour_pixels", "tumour", "site"])


def growing(count: int, sites: str = "") -> pd.DataFrame:
    """`count` patients of three slices, one of them with tumour, each with more than the last."""
    return made_up_table({f"p{i:03}": [0, 10 * (i + 1), 0] for i in range(count)}, sites)


def patients_in(table: pd.DataFrame, parts: pd.Series) -> dict[object, set[str]]:
    return {part: set(rows["patient"]) for part, rows in table.groupby(parts)}


def counts(table: pd.DataFrame, parts: pd.Series) -> dict[object, int]:
    return {part: len(patients) for part, patients in patients_in(table, parts).items()}


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    return str(error.value)
