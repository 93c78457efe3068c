"""How much better a model is than another: as their scores say, paired by the patient."""

import numpy as np
import pytest

from brainseg.evaluation.differences import differences
from brainseg.evaluation.scoring import CaseScores, score_case, summarise


def case(true: int, predicted: int) -> CaseScores:
    """A slice with tumour in its first ``true`` pixels, and so many predicted."""
    numbers = np.arange(64).reshape(8, 8)
    return score_case([numbers < true], [(numbers < predicted) * 0.9], 0.5, None)


def test_false_tumour_in_patients_who_have_none_is_a_difference() -> None:
    good = [case(8, 8), *[case(0, 0)] * 4]
    bad = [case(8, 8), *[case(0, 16)] * 4]
    own, others = ({score.name: score for score in summarise(of)} for of in (good, bad))
    gaps = {gap.name: gap for gap in differences(good, bad)}
    for name in ("dice", "iou", "micro_dice", "micro_iou", "false_alarm", "false_lesions"):
        expected = own[name].value - others[name].value  # type: ignore[operator]
        assert gaps[name].value == pytest.approx(expected), name
    assert gaps["micro_dice"].value == pytest.approx(1 - 0.2)
    # Draws of patients without tumour alone: the empty masks score 1, as by the rule.
    assert gaps["micro_dice"].low is not None and gaps["micro_dice"].high <= 1  # type: ignore[operator]
    assert gaps["micro_dice"].n == 5


def test_a_score_that_one_model_does_not_have_has_no_difference() -> None:
    good, bad = [case(0, 0)] * 3, [case(0, 5)] * 3
    assert "micro_dice" not in {gap.name for gap in differences(good, bad)}
