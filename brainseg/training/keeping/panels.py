"""Which validation slices are shown beside their prediction, and the file that holds them.

Shapes: N slices of the pack, B of them shown, H rows, W columns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainseg.data.pack.store import Pack
from brainseg.records.files import replacing

PANELS = 6  # slices shown, at most


def panel_rows(pack: Pack, rows: np.ndarray, patients: list[str]) -> np.ndarray:
    """The slice with the largest tumour of each of the first patients of ``rows``."""
    area = {row: int(pack.masks_NHW[row].sum()) for row in rows}
    largest: dict[str, int] = {}
    for row in rows:
        best = largest.setdefault(patients[row], row)
        if area[row] > area[best]:
            largest[patients[row]] = row
    return np.array(list(largest.values())[:PANELS])


def write_panels(
    path: Path,
    pack: Pack,
    rows: np.ndarray,
    predictions_BHW: np.ndarray,
    labels: Sequence[str],
    epoch: int,
) -> None:
    """Write images, truths and predictions (uint8) of the slices ``rows``, in one step."""
    with replacing(path) as file:
        np.savez_compressed(
            file,
            images=pack.images_NHWC[rows],
            truths=pack.masks_NHW[rows],
            predictions=predictions_BHW,
            labels=np.array(labels),
            epoch=epoch,
        )
