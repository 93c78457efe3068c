"""Overlap between predicted and true tumour: pixels are counted per slice and divided at the end.

Shapes: B images, H rows, W columns, S slices, P patients. Counts are integers that add up over
batches, workers and slices, so every score is the same number on one worker or on eight.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.int64]


def count_pixels(logits_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Per image the true positive, false positive and false negative pixels, shape (B, 3), int64.

    A pixel is predicted tumour where its logit is above 0, that is, its probability above 0.5.
    """
    predicted, true = logits_BHW > 0, mask_BHW > 0
    hits, extra, missed = predicted & true, predicted & ~true, ~predicted & true
    return torch.stack([pixels.sum((1, 2)) for pixels in (hits, extra, missed)], dim=1)


def per_patient(counts_S3: Counts, patients: Sequence[str]) -> dict[str, Counts]:
    """Counts summed over each patient's slices, in the order patients first appear.

    Args:
        counts_S3: or any other integers of each slice, (S, K).
    """
    if len(patients) != len(counts_S3):
        raise ValueError(f"{len(counts_S3)} slices need as many patients, got {len(patients)}")
    owners_S, names = pd.factorize(np.asarray(patients, dtype=object))
    totals_P3 = np.zeros((len(names), counts_S3.shape[1]), np.int64)
    np.add.at(totals_P3, owners_S, counts_S3)
    return dict(zip(names.tolist(), totals_P3, strict=True))


def dice(counts: Counts) -> NDArray[np.float64]:
    """2 tp / (2 tp + fp + fn) along the last axis; 1 if there is no tumour and none is predicted.

    Source: Dice (1945); Zijdenbos et al. (1994) for segmentation.
    """
    tp, wrong = counts[..., 0], counts[..., 1] + counts[..., 2]
    return _ratio(2 * tp, 2 * tp + wrong)


def iou(counts: Counts) -> NDArray[np.float64]:
    """tp / (tp + fp + fn) along the last axis; 1 if there is no tumour and none is predicted."""
    tp, wrong = counts[..., 0], counts[..., 1] + counts[..., 2]
    return _ratio(tp, tp + wrong)


def summary(counts_S3: Counts, patients: Sequence[str]) -> dict[str, float]:
    """Every score by its name, from per-slice counts and each slice's patient.

    ``dice`` and ``iou`` are means over patients of volume scores; ``micro_*`` are over all
    pixels; ``tumour_slice_dice`` is the mean over slices with tumour; ``slice_dice_empty1`` the
    mean over all slices, 1 for an empty slice that is left empty; ``false_alarm`` the share of
    tumour-free slices with any predicted tumour. A mean over nothing is 0.
    """
    volumes_P3 = np.stack(list(per_patient(counts_S3, patients).values()))
    has_tumour = counts_S3[:, 0] + counts_S3[:, 2] > 0
    total = counts_S3.sum(0)
    return {
        "dice": _mean(dice(volumes_P3)),
        "iou": _mean(iou(volumes_P3)),
        "micro_dice": float(dice(total)),
        "micro_iou": float(iou(total)),
        "tumour_slice_dice": _mean(dice(counts_S3[has_tumour])),
        "slice_dice_empty1": _mean(dice(counts_S3)),
        "false_alarm": _mean(counts_S3[~has_tumour, 1] > 0),
    }


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    empty = whole == 0
    return np.where(empty, 1.0, part / np.where(empty, 1, whole))


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else 0.0


def patient_table(counts_S3: Counts, patients: Sequence[str]) -> pd.DataFrame:
    """Counts and scores of each patient: slices, tumour_slices, tp, fp, fn, dice, iou."""
    has_tumour = counts_S3[:, 0] + counts_S3[:, 2] > 0
    slices_S5 = np.column_stack([np.ones_like(has_tumour), has_tumour, counts_S3])
    totals = per_patient(slices_S5, patients)
    totals_P5 = np.stack(list(totals.values()))
    table = pd.DataFrame(totals_P5, columns=["slices", "tumour_slices", "tp", "fp", "fn"])
    table.insert(0, "patient", list(totals))
    return table.assign(dice=dice(totals_P5[:, 2:]), iou=iou(totals_P5[:, 2:]))
