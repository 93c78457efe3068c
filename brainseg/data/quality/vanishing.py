"""Tumours that vanish where slices are made smaller: a patient then counts as one without tumour.

A pixel of the pack is tumour if more than half of it was (see data/pack/build.py). So predicting
nothing scores a Dice of 1 on a set whose tumours are all too small, and no trial would say why.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.data.pack.build import resized_mask
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.memo import Place, memoised
from brainseg.data.readers.problems import Problem, counted, some
from brainseg.data.table import CUT

REMEDY = "use a larger --image-size"
LEFT = np.dtype([("pixels", "i8"), ("side", "i8")])  # tumour once resized; the square on disk


@dataclass(frozen=True)
class Vanished:
    """What a set loses at a size: slices that have tumour on disk, and none at this size."""

    image_size: int  # pixels a side
    tumour_slices: int  # on disk
    tumour_patients: int
    areas: list[int]  # of each vanished tumour, in pixels on disk
    sides: list[int]  # of its slice
    patients: list[str]  # who lose all
    first: str  # the first mask with tumour

    def notes(self) -> list[str]:
        """One sentence if some tumours vanish, but not all."""
        return [f"{self._sentence()}; {REMEDY}"] if 0 < len(self.areas) < self.tumour_slices else []

    def problems(self) -> list[Problem]:
        """The problem that no tumour is left to learn from."""
        if not 0 < self.tumour_slices == len(self.areas):
            return []
        rule = f"some tumour must be left at --image-size {self.image_size}"
        return [Problem(self.first, rule, f"loses its own, {self._sentence()}", REMEDY)]

    def _sentence(self) -> str:
        lost = "no patient loses all tumour"
        if self.patients:
            count = f"{len(self.patients)} of {self.tumour_patients}"
            lost = f"{count} patients lose all tumour: {some(self.patients)}"
        return (
            f"at {self.image_size} pixels a side, the tumours of {len(self.areas)} of "
            f"{counted(self.tumour_slices, 'slice')} vanish (of {_span(self.areas)} px in slices "
            f"of {_span(self.sides)} a side), {lost}"
        )


def vanished(table: pd.DataFrame, root: Path, image_size: int) -> Vanished:
    """What the masks of ``table`` lose at ``image_size``; they are read once, see memo.py."""
    tumour = table[table["tumour"] == 1]

    def measure(place: Place) -> tuple[int, int]:
        mask_HW = read_mask(root, *place)
        return int(resized_mask(mask_HW, image_size).sum()), max(mask_HW.shape)

    places = list(tumour[["mask", *CUT, "label"]].itertuples(index=False, name=None))
    left = memoised(f"tumour-at-{image_size}", root, places, measure, LEFT)
    of_patient = pd.Series(left["pixels"], tumour.index).groupby(tumour["patient"]).sum()
    gone = left["pixels"] == 0
    return Vanished(
        image_size=image_size,
        tumour_slices=len(tumour),
        tumour_patients=len(of_patient),
        areas=tumour["tumour_pixels"][gone].tolist(),
        sides=left["side"][gone].tolist(),
        patients=[str(name) for name in of_patient.index[of_patient == 0]],
        first="".join(tumour["mask"].head(1)),
    )


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
