"""Scores of predictors that look at no image: a network must beat at least these.

Masks are kept as bits, 64 pixels a word, so that counting over a whole data set takes no second.
Shapes: N slices of the table, S scored, T to train on, H rows, W columns, B words of a slice.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.data.splits.folds import Rows, folds_of, rows_of, seeds_of_folds
from brainseg.evaluation.metrics import Counts, summary

Bits = NDArray[np.uint64]
CHUNK = 256  # slices unpacked at a time: 16 MB at 256 pixels

NOTHING = "predicts nothing"
NEAREST = "copies the nearest training slice"
MEAN = "the mean training mask"


@dataclass(frozen=True)
class Baseline:
    """One predictor and its scores; none, and ``why_not``, where it is undefined."""

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    why_not: str = ""


def baselines(masks_NHW: NDArray[np.uint8], table: pd.DataFrame) -> list[Baseline]:
    """Score each predictor on the validation slices of ``table``; masks hold 0 and 1.

    Where the split has folds each slice is scored out of its fold, by what the others teach; where
    they were cut for each seed, out of those of the first. The scores are those of
    ``metrics.summary``, so that they stand beside a network's.
    """
    bits_NB = as_bits(masks_NHW)
    seed = next(iter(seeds_of_folds(table)), 0)
    folds = folds_of(table, seed)
    names = [0] if folds is None else sorted(set(folds) - {-1})
    rows = [rows_of(table, fold, seed) for fold in names]
    patients = table["patient"].iloc[np.concatenate([scored for _, scored in rows])].tolist()
    nearest = [nearest_slices(table, scored, train) for train, scored in rows]
    means = [mean_mask(bits_NB[train], masks_NHW.shape[1:]) for train, _ in rows]
    shares = dict.fromkeys(f"{share:.1%}" for share in sorted(share for _, share in means))
    predictions = {
        NOTHING: [np.zeros_like(bits_NB[:1])] * len(rows),
        NEAREST: [np.where(row[:, None] < 0, np.uint64(0), bits_NB[row]) for row in nearest],
        f"{MEAN}, where {_span(list(shares))} of slices have tumour": [
            as_bits(mean_HW[None]) for mean_HW, _ in means
        ],
    }
    scored_baselines = []
    for name, predicted in predictions.items():
        pairs = zip(predicted, rows, strict=True)
        counts = [_count(bits, bits_NB[scored]) for bits, (_, scored) in pairs]
        scored_baselines.append(Baseline(name, summary(np.concatenate(counts), patients)))
    if (np.concatenate(nearest) < 0).all():
        scored_baselines[1] = Baseline(NEAREST, why_not="no patient has training slices as well")
    return scored_baselines


def _span(rising: list[str]) -> str:
    return rising[0] if len(rising) == 1 else f"{rising[0]} to {rising[-1]}"


def nearest_slices(table: pd.DataFrame, scored: Rows, train: Rows) -> Rows:
    """For each scored row the training row of its patient with the nearest slice number, or -1.

    Of two that are equally near it is the lower.
    """
    patient, number = pd.factorize(table["patient"])[0], table["slice"].to_numpy()
    nearest = np.full(len(scored), -1)
    for owner in np.unique(patient[scored]):
        candidates = train[patient[train] == owner]
        if len(candidates):
            candidates = candidates[np.argsort(number[candidates])]
            mine = np.flatnonzero(patient[scored] == owner)
            distance = abs(number[scored[mine], None] - number[None, candidates])
            nearest[mine] = candidates[distance.argmin(1)]  # the first of the smallest: the lower
    return nearest


def mean_mask(bits_TB: Bits, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], float]:
    """The pixels in which at least a share of the training slices has tumour, and that share.

    It is the share with the highest micro Dice over the training slices; of equals the largest.
    All shares are tried: sorted by share, the pixels above it and their tumour are running sums.
    """
    tumour_HW = sum(
        np.unpackbits(bits_TB[start : start + CHUNK].view(np.uint8), axis=1).sum(0, dtype=np.int64)
        for start in range(0, len(bits_TB), CHUNK)
    )[: int(np.prod(shape))]
    falling = np.sort(tumour_HW)[::-1]
    predicted = len(bits_TB) * np.arange(1, len(falling) + 1)
    dice = 2 * falling.cumsum() / (predicted + falling.sum())
    is_last_of_equals = np.append(falling[1:] < falling[:-1], True)
    least = falling[np.where(is_last_of_equals, dice, -1.0).argmax()]
    return (tumour_HW >= least).astype(np.uint8).reshape(shape), least / len(bits_TB)


def as_bits(masks_NHW: NDArray[np.uint8]) -> Bits:
    """Masks as words of 64 pixels, the last one filled up with 0."""
    num_bytes = -(-masks_NHW[0].size // 64) * 8
    bits = np.zeros((len(masks_NHW), num_bytes), np.uint8)
    for start in range(0, len(masks_NHW), CHUNK):
        chunk = masks_NHW[start : start + CHUNK]
        packed = np.packbits(chunk.reshape(len(chunk), -1), axis=1)
        bits[start : start + CHUNK, : packed.shape[1]] = packed
    return bits.view(np.uint64)


def _count(predicted_SB: Bits, truth_SB: Bits) -> Counts:
    """True positive, false positive and false negative pixels of each slice."""
    words = (predicted_SB & truth_SB, predicted_SB & ~truth_SB, ~predicted_SB & truth_SB)
    return np.stack([np.bitwise_count(pixels).sum(1, dtype=np.int64) for pixels in words], axis=1)
