"""All scores of one patient, and of all patients with their intervals.

Of each patient what adds up is kept: counts, and scores of the whole volume. Slices of one size are
stacked into a volume, in the order given. Where sizes differ there is none, and the scores that
need one (HD95, surface Dice, lesions) are missing for that patient.

Shapes: H rows, W columns of a slice, P patients, K quantities that add up, M bins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainseg.evaluation.calibration import BINS, Bins, ece, near_tumour, reliability
from brainseg.evaluation.distances import UNDEFINED_DISTANCES, SurfaceScores, surface_scores
from brainseg.evaluation.intervals import Floats, Statistic, patient_interval
from brainseg.evaluation.lesions import Lesions, lesions
from brainseg.evaluation.metrics import Counts, dice, iou

TOLERANCE = 1.0  # mm, or pixels, of the surface Dice
UNDEFINED = (
    f"Dice and IoU are 1 where neither mask has tumour. {UNDEFINED_DISTANCES} A score that no "
    "patient has is left empty; n is the number of patients that a score is of."
)

Spacing = tuple[float, float, float]
Length = Literal["mm", "pixels"]


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """What one patient scored.

    Attributes:
        length: the unit of ``surface.hd95``; volumes are in ml with mm, else in pixels.
        tolerance: of ``surface.nsd``, in that unit.
        slices, tumour_slices: how many; a tumour slice has tumour in the true mask.
        tp, fp, fn: pixels of all slices.
        slice_dice: sum of Dice over all slices, 1 for an empty slice left empty.
        tumour_slice_dice: sum of Dice over tumour slices.
        false_alarms: slices without tumour in which some is predicted.
        surface, lesions: None where slices differ in size.
        bins, near_bins: see ``calibration.reliability``; of all pixels, and of those near tumour.
    """

    length: Length
    tolerance: float
    slices: int
    tumour_slices: int
    tp: int
    fp: int
    fn: int
    slice_dice: float
    tumour_slice_dice: float
    false_alarms: int
    surface: SurfaceScores | None
    lesions: Lesions | None
    true_volume: float
    predicted_volume: float
    bins: Bins
    near_bins: Bins

    @property
    def counts(self) -> Counts:
        return np.array([self.tp, self.fp, self.fn])

    @property
    def dice(self) -> float:
        return float(dice(self.counts))

    @property
    def iou(self) -> float:
        return float(iou(self.counts))

    @property
    def empty_masks(self) -> int:
        """How many of the two masks have no tumour: 0, 1 or 2."""
        return int(self.tp + self.fn == 0) + int(self.tp + self.fp == 0)


def score_case(
    true: Sequence[NDArray[Any]],
    probability: Sequence[NDArray[Any]],
    threshold: float,
    spacing_mm: Spacing | None,
    tolerance: float = TOLERANCE,
) -> CaseScores:
    """Score the slices of one patient, at the resolution they come in.

    Args:
        true: a mask (H, W) per slice, in order; what is not 0 is tumour. Sizes may differ.
        probability: of tumour, 0 to 1, of the same shapes; above the threshold it is predicted.
        spacing_mm: between slices, rows and columns; None: unknown, then all is in pixels, and
            slices count as one pixel apart.
        tolerance: of the surface Dice, in mm, or pixels.

    Raises:
        ValueError: no slice, a number of slices or a shape that differs between masks and
            probabilities, a probability outside 0 to 1 or NaN, a spacing or tolerance that is none.
    """
    if not true or len(true) != len(probability):
        raise ValueError(f"{len(true)} masks need as many probabilities, got {len(probability)}")
    bins, near_bins = np.zeros((BINS, 3)), np.zeros((BINS, 3))
    counts_S3 = np.zeros((len(true), 3), np.int64)
    predicted = [slice_HW > threshold for slice_HW in probability]
    for n, (true_HW, slice_HW) in enumerate(zip(true, probability, strict=True)):
        bins += reliability(slice_HW, true_HW)
        box = near_tumour(true_HW)
        near_bins += reliability(slice_HW[box], true_HW[box])
        counts_S3[n] = _count(true_HW != 0, predicted[n])
    has_tumour, dice_S = counts_S3[:, 0] + counts_S3[:, 2] > 0, dice(counts_S3)
    tp, fp, fn = counts_S3.sum(0).tolist()
    stacked = None
    if len({true_HW.shape for true_HW in true}) == 1:
        stacked = np.stack([true_HW != 0 for true_HW in true]), np.stack(predicted)
    voxel = float(np.prod(spacing_mm)) / 1000 if spacing_mm else 1.0
    return CaseScores(
        length="mm" if spacing_mm else "pixels",
        tolerance=tolerance,
        slices=len(true),
        tumour_slices=int(has_tumour.sum()),
        tp=tp,
        fp=fp,
        fn=fn,
        slice_dice=float(dice_S.sum()),
        tumour_slice_dice=float(dice_S[has_tumour].sum()),
        false_alarms=int((counts_S3[~has_tumour, 1] > 0).sum()),
        surface=stacked and surface_scores(*stacked, spacing_mm or (1.0, 1.0, 1.0), tolerance),
        lesions=stacked and lesions(*stacked),
        true_volume=(tp + fn) * voxel,
        predicted_volume=(tp + fp) * voxel,
        bins=bins,
        near_bins=near_bins,
    )


def _count(true: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> tuple[int, int, int]:
    tp = int(np.count_nonzero(true & predicted))
    return tp, int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(true)) - tp


@dataclass(frozen=True, kw_only=True)
class Score:
    """One line of the table of scores.

    Attributes:
        value: None where no patient has it.
        low, high: the 95 % interval over patients; None where there is none, and ``why_not`` why.
        unit: empty for a share; of ``hd95`` mm or pixels, of ``nsd`` the tolerance.
        n: patients that it is of; of the others it has no value.
        undefined: how many of them have no value by the formula and score by ``UNDEFINED``.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    n: int
    undefined: int
    why_not: str = ""


def summarise(
    cases: Sequence[CaseScores], persons: Sequence[str] | None = None, seed: int = 0
) -> list[Score]:
    """Every score over all patients, with its 95 % bootstrap interval over patients.

    HD95 and surface Dice have a line per unit and tolerance: figures in mm and in pixels have no
    common mean.

    Args:
        persons: of each case; None: each case is a person of its own.

    Raises:
        ValueError: no case, or a number of persons other than that of cases.
    """
    if not cases:
        raise ValueError("there is no patient to score")
    owners = list(persons) if persons is not None else [str(n) for n in range(len(cases))]
    if len(owners) != len(cases):
        raise ValueError(f"{len(cases)} cases need as many persons, got {len(owners)}")
    scores = [
        _ratio(name, unit, parts, [cases[n] for n in alike], [owners[n] for n in alike], seed)
        for name, unit, parts, alike in ratios(cases)
    ]
    scores.append(_calibration("ece", [case.bins for case in cases], owners, seed))
    scores.append(_calibration("ece_near", [case.near_bins for case in cases], owners, seed))
    return scores


Parts = tuple[float, float]  # of a ratio; both add up over patients
PartsOf = Callable[[CaseScores], Parts | None]


def ratios(cases: Sequence[CaseScores]) -> list[tuple[str, str, PartsOf, list[int]]]:
    """Name, unit and parts of each score that is a ratio, and the numbers of its cases."""
    everybody = list(range(len(cases)))
    scores = [(name, "", parts, everybody) for name, parts in SHARES.items()]
    for length, tolerance in sorted({(case.length, case.tolerance) for case in cases}):
        alike = [n for n in everybody if _measure(cases[n]) == (length, tolerance)]
        unit = f"within {tolerance:g} {length.removesuffix('s') if tolerance == 1 else length}"
        scores += [("hd95", length, _hd95, alike), ("nsd", unit, _nsd, alike)]
    scores.append(("lesion_sensitivity", "", _found, everybody))
    scores.append(("false_lesions", "a patient", _false_lesions, everybody))
    return scores


def _measure(case: CaseScores) -> tuple[str, float]:
    return case.length, case.tolerance


SHARES: dict[str, PartsOf] = {
    "dice": lambda case: (case.dice, 1),
    "iou": lambda case: (case.iou, 1),
    "micro_dice": lambda case: (2 * case.tp, 2 * case.tp + case.fp + case.fn),
    "micro_iou": lambda case: (case.tp, case.tp + case.fp + case.fn),
    "tumour_slice_dice": lambda case: (case.tumour_slice_dice, case.tumour_slices),
    "slice_dice_empty1": lambda case: (case.slice_dice, case.slices),
    "false_alarm": lambda case: (case.false_alarms, case.slices - case.tumour_slices),
}
BY_RULE = {"dice": 2, "iou": 2, "nsd": 2, "hd95": 1}  # from so many empty masks on


def _hd95(case: CaseScores) -> Parts | None:
    return (case.surface.hd95, 1) if case.surface else None


def _nsd(case: CaseScores) -> Parts | None:
    return (case.surface.nsd, 1) if case.surface else None


def _found(case: CaseScores) -> Parts | None:
    return (case.lesions.found, case.lesions.true) if case.lesions else None


def _false_lesions(case: CaseScores) -> Parts | None:
    return (case.lesions.false, 1) if case.lesions else None


def _ratio(
    name: str,
    unit: str,
    parts: PartsOf,
    cases: Sequence[CaseScores],
    owners: Sequence[str],
    seed: int,
) -> Score:
    """The sum of first parts over that of second parts, over patients whose second is above 0."""
    rows, their, undefined = [], [], 0
    for case, owner in zip(cases, owners, strict=True):
        pair = parts(case)
        if pair and pair[1]:
            rows.append(pair)
            their.append(owner)
            undefined += case.empty_masks >= BY_RULE.get(name, 3)
    return _score(name, unit, np.array(rows), _divided, their, seed, undefined)


def _divided(totals: Floats) -> Floats:
    return np.asarray(totals[..., 0] / totals[..., 1])


def _calibration(name: str, bins: Sequence[Bins], owners: Sequence[str], seed: int) -> Score:
    counted = [n for n, patient in enumerate(bins) if patient[:, 0].any()]
    rows_PK = np.array([bins[n].ravel() for n in counted])

    def error(totals: Floats) -> Floats:
        return ece(totals.reshape(*totals.shape[:-1], BINS, 3))

    return _score(name, "", rows_PK, error, [owners[n] for n in counted], seed, 0)


def _score(
    name: str,
    unit: str,
    rows_PK: Floats,
    statistic: Statistic,
    owners: Sequence[str],
    seed: int,
    undefined: int,
) -> Score:
    if not len(rows_PK):
        return Score(name=name, value=None, low=None, high=None, unit=unit, n=0, undefined=0,
                     why_not="no patient has it")  # fmt: skip
    interval = patient_interval(rows_PK, statistic, owners, seed)
    return Score(
        name=name,
        value=float(statistic(rows_PK.sum(0))),
        low=interval.low,
        high=interval.high,
        unit=unit,
        n=len(rows_PK),
        undefined=undefined,
        why_not=interval.why_not,
    )
