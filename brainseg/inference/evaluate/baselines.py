"""Predictors that look at no image, for the patients of an opening: a model must beat these.

They learn from the masks of all patients that were not locked, at the training resolution.

Shapes: N pixels a side.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainseg.data.pack.store import open_pack
from brainseg.data.remote import local_copy
from brainseg.data.table import read_slices
from brainseg.evaluation.baselines import MEAN, NEAREST, NOTHING, as_bits, mean_mask, nearest_slices
from brainseg.inference.evaluate.cohort import LOCKED, Cohort
from brainseg.process import Log
from brainseg.records.cache import default_cache
from brainseg.records.run import Run

Predictor = Callable[[int], NDArray[np.uint8]]  # row of the cohort's table to a mask (N, N)


def predictors(
    run: Run, cohort: Cohort, *, image_size: int, channels: int, log: Log
) -> tuple[dict[str, Predictor], list[str]]:
    """Each by its name, and notes on those that are left out."""
    nothing_NN = np.zeros((image_size, image_size), np.uint8)
    known: dict[str, Predictor] = {NOTHING: lambda row: nothing_NN}
    try:
        return known | _taught(run, cohort, image_size, channels, log), []
    except (ValueError, OSError) as error:
        return known, [f"Of the baselines one alone is shown, the run's data are away: {error}."]


def _taught(
    run: Run, cohort: Cohort, image_size: int, channels: int, log: Log
) -> dict[str, Predictor]:
    """What the masks of the unlocked patients teach."""
    place, table = run.settings()["data"], read_slices(run.slices)

    def files() -> Path:
        return local_copy(place["root"], default_cache(), copy=place.get("copy", ""), log=log)

    pack = open_pack(
        table,
        files,
        image_size=image_size,
        channels=channels,
        recorded=str(place["fingerprint"]),
        log=log,
    )
    train = np.flatnonzero(table["part"] != "test")
    mean_NN, share = mean_mask(as_bits(pack.masks_NHW)[train], (image_size, image_size))
    taught: dict[str, Predictor] = {
        f"{MEAN}, where {share:.1%} of slices have tumour": lambda row: mean_NN
    }
    if cohort.kind == LOCKED:
        nearest = nearest_slices(table, np.flatnonzero(table["part"] == "test"), train)
        if (nearest >= 0).any():  # of a split by slices, whose locked slices have neighbours
            taught[NEAREST] = lambda row: (
                np.asarray(pack.masks_NHW[nearest[row]]) if nearest[row] >= 0 else 0 * mean_NN
            )
    return taught
