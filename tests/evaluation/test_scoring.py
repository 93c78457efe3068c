"""A patient's scores are those of the functions they come from; sums over patients are honest."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, MeanIoU

from brainseg.evaluation.calibration import ece, reliability
from brainseg.evaluation.distances import SurfaceScores, surface_scores
from brainseg.evaluation.lesions import lesions
from brainseg.evaluation.metrics import summary
from brainseg.evaluation.scoring import CaseScores, Score, score_case, summarise
from tests.support.mask_pairs import MaskPair, mask_pairs

PAIRS = mask_pairs(60)
NAMES = [  # of every trial, then those of an evaluation
    "dice", "iou", "micro_dice", "micro_iou", "tumour_slice_dice", "slice_dice_empty1",
    "false_alarm", "hd95", "nsd", "lesion_sensitivity", "false_lesions", "ece", "ece_near",
]  # fmt: skip


def scored(pair: MaskPair, in_mm: bool = True) -> CaseScores:
    probability = np.where(pair.predicted, 0.8, 0.1)
    return score_case(list(pair.true), list(probability), 0.5, pair.spacing if in_mm else None)


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def test_every_score_is_there_once_with_its_unit() -> None:
    scores = summarise([scored(pair) for pair in PAIRS])
    assert [score.name for score in scores] == NAMES
    units = {score.name: score.unit for score in scores if score.unit}
    assert units == {"hd95": "mm", "nsd": "within 1 mm", "false_lesions": "a patient"}
    assert all(score.low is not None and score.value is not None for score in scores)
    assert all(score.low <= score.value <= score.high for score in scores)  # type: ignore[operator]


def test_dice_and_iou_of_a_patient_are_those_of_monai() -> None:
    dice = DiceMetric(ignore_empty=False)
    iou = MeanIoU(ignore_empty=False)
    for pair in PAIRS:
        masks = [torch.as_tensor(mask[None, None]) for mask in (pair.predicted, pair.true)]
        case = scored(pair)
        assert case.dice == pytest.approx(float(dice(*masks)), abs=1e-6), pair.name
        assert case.iou == pytest.approx(float(iou(*masks)), abs=1e-6), pair.name


def test_scores_by_slice_and_by_pixel_are_those_of_a_trial() -> None:
    cases = [scored(pair) for pair in PAIRS]
    counts, patients = [], []
    for pair in PAIRS:
        for true, predicted in zip(pair.true, pair.predicted, strict=True):
            counts.append([(true & predicted).sum(), (predicted & ~true).sum(),
                           (true & ~predicted).sum()])  # fmt: skip
            patients.append(pair.name)
    scores = by_name(summarise(cases))
    for name, value in summary(np.array(counts), patients).items():
        assert scores[name].value == pytest.approx(value), name


def test_a_patient_keeps_what_the_functions_say_of_the_volume() -> None:
    for pair in PAIRS[:20]:
        case = scored(pair)
        assert case.surface == surface_scores(pair.true, pair.predicted, pair.spacing, 1.0)
        assert case.lesions == lesions(pair.true, pair.predicted)
        voxel = np.prod(pair.spacing) / 1000
        assert case.true_volume == pytest.approx(pair.true.sum() * voxel)
        assert case.predicted_volume == pytest.approx(pair.predicted.sum() * voxel)
        assert case.bins == pytest.approx(
            reliability(np.where(pair.predicted, 0.8, 0.1), pair.true)
        )
        assert case.near_bins[:, 0].sum() <= case.bins[:, 0].sum()
        in_pixels = scored(pair, in_mm=False)
        assert in_pixels.length == "pixels"
        assert in_pixels.true_volume == pair.true.sum()
        assert in_pixels.surface == surface_scores(pair.true, pair.predicted, (1, 1, 1), 1.0)


def test_sums_and_means_over_patients_are_what_they_are_called() -> None:
    cases = [scored(pair) for pair in PAIRS]
    scores = by_name(summarise(cases))
    found = [case.lesions for case in cases if case.lesions]
    assert scores["hd95"].value == pytest.approx(
        np.mean([case.surface.hd95 for case in cases if case.surface])
    )
    assert scores["lesion_sensitivity"].value == pytest.approx(
        sum(part.found for part in found) / sum(part.true for part in found)
    )
    assert scores["false_lesions"].value == pytest.approx(np.mean([part.false for part in found]))
    assert scores["ece"].value == pytest.approx(float(ece(sum(case.bins for case in cases))))


def test_patients_without_tumour_are_counted_where_a_rule_scores_them() -> None:
    kinds = ["blobs", "missed", "made up", "nothing"]
    cases = [scored(pair) for kind in kinds for pair in PAIRS[:10] if pair.name.endswith(kind)]
    assert len(cases) == 5  # two of blobs
    scores = by_name(summarise(cases))
    undefined = {score.name: score.undefined for score in scores.values() if score.undefined}
    assert undefined == {"dice": 1, "iou": 1, "hd95": 3, "nsd": 1}
    assert {name: scores[name].n for name in ("dice", "hd95", "micro_dice", "ece_near")} == {
        "dice": 5, "hd95": 5, "micro_dice": 4, "ece_near": 3,
    }  # fmt: skip
    assert scores["lesion_sensitivity"].n == 3


def test_what_no_patient_has_is_empty_and_not_0() -> None:
    empty = np.zeros((5, 5))
    scores = by_name(summarise([score_case([empty], [empty], 0.5, None)] * 3))
    for name in ("micro_dice", "tumour_slice_dice", "lesion_sensitivity", "ece_near"):
        assert (scores[name].value, scores[name].n) == (None, 0)
        assert scores[name].why_not == "no patient has it"
    assert (scores["dice"].value, scores["dice"].undefined, scores["dice"].low) == (1, 3, None)
    assert scores["dice"].why_not == "every draw of persons gives the same value"


def test_slices_that_differ_in_size_have_pixels_but_no_volume() -> None:
    true = [np.eye(4), np.eye(6)]
    case = score_case(true, [0.9 * mask for mask in true], 0.5, (5, 1, 1))
    assert (case.surface, case.lesions) == (None, None)
    assert (case.dice, case.tp, case.slices) == (1, 10, 2)
    scores = by_name(summarise([case, scored(PAIRS[0])]))
    assert (scores["dice"].n, scores["hd95"].n, scores["false_lesions"].n) == (2, 1, 1)


def test_a_pixel_at_the_threshold_is_not_tumour() -> None:
    case = score_case([np.ones((1, 2))], [np.array([[0.3, 0.31]])], 0.3, None)
    assert (case.tp, case.fn) == (1, 1)


def test_millimetres_and_pixels_have_no_common_mean() -> None:
    cases = [scored(pair, in_mm=n % 2 == 0) for n, pair in enumerate(PAIRS)]
    scores = [score for score in summarise(cases) if score.name in ("hd95", "nsd")]
    assert [(score.name, score.unit, score.n) for score in scores] == [
        ("hd95", "mm", 30), ("nsd", "within 1 mm", 30),
        ("hd95", "pixels", 30), ("nsd", "within 1 pixel", 30),
    ]  # fmt: skip


def test_scans_of_one_person_are_drawn_together() -> None:
    good, bad = replace(scored(PAIRS[0]), surface=SurfaceScores(2.0, 0.9)), scored(PAIRS[1])
    cases = [good, bad] * 6
    apart = by_name(summarise(cases))
    together = by_name(summarise(cases, [str(n // 2) for n in range(12)]))
    assert together["dice"].low is None  # each person has one of both: all alike
    assert apart["dice"].low is not None
    assert apart["dice"].value == together["dice"].value


def test_the_same_cases_give_the_same_table() -> None:
    cases = [scored(pair) for pair in PAIRS[:12]]
    assert summarise(cases) == summarise(cases)


EMPTY = np.zeros((3, 3))


@pytest.mark.parametrize(
    ("true", "probability", "sentence"),
    [
        ([], [], "0 masks need as many probabilities, got 0"),
        ([EMPTY], [EMPTY, EMPTY], "1 masks need as many probabilities, got 2"),
        ([EMPTY], [np.zeros((3, 4))], r"the same, got \(3, 4\) and \(3, 3\)"),
        ([EMPTY], [EMPTY * np.nan], "between 0 and 1, got nan"),
    ],
)
def test_what_does_not_fit_is_refused(
    true: list[np.ndarray], probability: list[np.ndarray], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        score_case(true, probability, 0.5, None)


def test_no_patient_and_too_few_persons_are_refused() -> None:
    with pytest.raises(ValueError, match="no patient to score"):
        summarise([])
    with pytest.raises(ValueError, match="1 cases need as many persons, got 2"):
        summarise([scored(PAIRS[0])], ["a", "b"])
