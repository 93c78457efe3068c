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
    """Counts summed over each patient's slices, in the order patients first appear."""
    totals: dict[str, Counts] = {}
    for patient, counts in zip(patients, counts_S3, strict=True):
        totals[patient] = totals.get(patient, np.zeros(3, np.int64)) + counts
    return totals


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
    rows = []
    has_tumour = counts_S3[:, 0] + counts_S3[:, 2] > 0
    for patient, counts in per_patient(counts_S3, patients).items():
        belongs = np.array([name == patient for name in patients])
        tp, fp, fn = counts.tolist()
        rows.append(
            {
                "patient": patient,
                "slices": int(belongs.sum()),
                "tumour_slices": int((belongs & has_tumour).sum()),
                "tp": tp,
                "fp": fp,
                "fn": fn,
                "dice": float(dice(counts)),
                "iou": float(iou(counts)),
            }
        )
    return pd.DataFrame(rows)
