"""A model's probabilities beside the true masks of each patient, at both resolutions.

native           the files' own pixels, at the model's threshold
training         the square of ``image_size`` pixels that a trial is scored on, at the same one
native at 0.5    both at the default threshold, at which trials are scored, where the model's is
training at 0.5  another

Shapes: H rows, W columns of a slice, N pixels a side in the network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.pack.build import resized_mask
from brainseg.data.pack.square import from_square
from brainseg.data.readers.masks import read_mask
from brainseg.data.table import CUT, MILLIMETRES
from brainseg.evaluation.calibration import ece
from brainseg.evaluation.scoring import CaseScores, Spacing, score_case
from brainseg.inference.description import HALF
from brainseg.inference.evaluate.baselines import Predictor
from brainseg.inference.evaluate.cohort import Cohort
from brainseg.inference.model import Model
from brainseg.inference.predict.pipeline import Case, cases_of, read_case

Resolution = Literal["native", "training", "native at 0.5", "training at 0.5"]
Progress = Callable[[Iterable[Any], int | None], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """All patients of a cohort, as one model is scored at one resolution and threshold."""

    model: str
    role: str
    resolution: Resolution
    threshold: float | None  # None: of a baseline
    cases: tuple[CaseScores, ...]  # of the patients, in the order of the table


def score_model(
    model: Model, name: str, role: str, cohort: Cohort, progress: Progress
) -> list[Scored]:
    """The scores of one model.

    Raises:
        ValueError: a probability that is not finite.
    """
    own = model.threshold
    ways: list[tuple[Resolution, float]] = [("native", own), ("training", own)]
    if own != HALF:
        ways += [("native at 0.5", HALF), ("training at 0.5", HALF)]
    cases: list[list[CaseScores]] = [[] for _ in ways]
    for case, rows in progress(_with_rows(cohort), cohort.patients):
        prepared = read_case(model, case)
        squares_SNN = model.of_squares(prepared.squares_SNNC, prepared.scaling_SC3)
        if not np.isfinite(squares_SNN).all():
            raise ValueError(
                f"probabilities must be finite numbers, {name} gives others for {case.name}; train "
                "it again, or name another configuration with --arm"
            )
        truth = _masks(case, rows)
        native = [
            from_square(square_NN, *size)
            for square_NN, size in zip(squares_SNN, prepared.sizes, strict=True)
        ]
        squares = [resized_mask(mask_HW, model.image_size) for mask_HW in truth]
        for place, (resolution, threshold) in enumerate(ways):
            if resolution.startswith("training"):
                pair, spacing = (squares, list(squares_SNN)), None
            else:
                pair, spacing = (truth, native), _spacing(rows)
            cases[place].append(score_case(*pair, threshold, spacing))
    return [
        Scored(model=name, role=role, resolution=resolution, threshold=threshold, cases=tuple(of))
        for (resolution, threshold), of in zip(ways, cases, strict=True)
    ]


def score_baselines(
    predictors: Mapping[str, Predictor], cohort: Cohort, image_size: int, progress: Progress
) -> list[Scored]:
    """The scores of predictors that look at no image, at both resolutions."""
    keys: list[tuple[str, Resolution]] = [
        (name, resolution) for name in predictors for resolution in ("native", "training")
    ]
    cases: dict[tuple[str, Resolution], list[CaseScores]] = {key: [] for key in keys}
    number = 0
    for case, rows in progress(_with_rows(cohort), cohort.patients):
        truth = _masks(case, rows)
        squares = [resized_mask(mask_HW, image_size) for mask_HW in truth]
        for name, predict in predictors.items():
            masks = [predict(number + n).astype(np.float32) for n in range(len(rows))]
            native = [
                from_square(mask_NN, *mask_HW.shape)
                for mask_NN, mask_HW in zip(masks, truth, strict=True)
            ]
            cases[name, "native"].append(score_case(truth, native, HALF, _spacing(rows)))
            cases[name, "training"].append(score_case(squares, masks, HALF, None))
        number += len(rows)
    return [
        Scored(model=name, role="baseline", resolution=way, threshold=None, cases=tuple(of))
        for (name, way), of in cases.items()
    ]


def patient_rows(scored: Scored, cohort: Cohort) -> list[dict[str, Any]]:
    """A row a patient with all of its scores; NaN where there is none."""
    firsts = cohort.table.drop_duplicates("patient")[["patient", "person"]].to_dict("records")
    return [
        {str(key): cell for key, cell in first.items()}
        | {"model": scored.model, "role": scored.role, "resolution": scored.resolution}
        | {"threshold": scored.threshold}
        | _row(case)
        for first, case in zip(firsts, scored.cases, strict=True)
    ]


def _row(case: CaseScores) -> dict[str, Any]:
    surface, parts = case.surface, case.lesions
    return {
        "slices": case.slices,
        "tumour_slices": case.tumour_slices,
        "tp": case.tp,
        "fp": case.fp,
        "fn": case.fn,
        "dice": case.dice,
        "iou": case.iou,
        "tumour_slice_dice": case.tumour_slice_dice / max(case.tumour_slices, 1)
        if case.tumour_slices
        else None,
        "slice_dice_empty1": case.slice_dice / case.slices,
        "false_alarms": case.false_alarms,
        "hd95": surface and surface.hd95,
        "nsd": surface and surface.nsd,
        "length": case.length,
        "lesions": parts and parts.true,
        "lesions_found": parts and parts.found,
        "lesions_predicted": parts and parts.predicted,
        "false_lesions": parts and parts.false,
        "true_volume": case.true_volume,
        "predicted_volume": case.predicted_volume,
        "volume": "ml" if case.length == "mm" else "pixels",
        "ece": float(ece(case.bins)),
        "ece_near": float(ece(case.near_bins)),
    }


def _with_rows(cohort: Cohort) -> Iterator[tuple[Case, pd.DataFrame]]:
    groups = cohort.table.groupby("patient", sort=False)
    for case, (_, rows) in zip(cases_of(cohort.table, cohort.root), groups, strict=True):
        yield case, rows


def _masks(case: Case, rows: pd.DataFrame) -> list[NDArray[np.uint8]]:
    columns = rows[["mask", *CUT, "label"]]
    return [read_mask(case.root, *place) for place in columns.itertuples(index=False, name=None)]


def _spacing(rows: pd.DataFrame) -> Spacing | None:
    """Between slices, rows and columns in mm; None where one is unknown, or they differ."""
    if not set(MILLIMETRES) <= set(rows):
        return None
    known = rows[list(MILLIMETRES)].drop_duplicates()
    if len(known) != 1 or known.isna().any(axis=None):
        return None
    row_mm, column_mm, slice_mm = map(float, known.iloc[0])
    return slice_mm, row_mm, column_mm
