"""How much better is one model than another, on the same patients: paired by patient.

Patients differ far more than models do, so the difference is drawn with both of a patient's
scores together; its interval is far narrower than those of the two scores suggest.
"""

from collections.abc import Sequence

import numpy as np

from brainseg.evaluation.intervals import Floats, patient_interval
from brainseg.evaluation.scoring import CaseScores, Score, ratios


def differences(
    cases: Sequence[CaseScores],
    others: Sequence[CaseScores],
    persons: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Score]:
    """Each score of ``cases`` less that of ``others``, with its 95 % bootstrap interval.

    Of the scores that are ratios of what adds up over patients, which are all but the calibration
    errors. Patients that add to the score of either model count: ``n``. One without tumour adds
    nothing to the pixels of a model that leaves it empty, and false ones to those of another.

    Args:
        others: of the same patients, in the same order.
        persons: of each patient; None: each is a person of its own.
    """
    assert len(cases) == len(others), "of the same patients"
    owners = list(persons) if persons is not None else [str(n) for n in range(len(cases))]
    scores = []
    for name, unit, parts, chosen in ratios(cases):
        rows, their = [], []
        for n in chosen:
            pair, other = parts(cases[n]), parts(others[n])
            if pair and other and (pair[1] or other[1]):
                rows.append([*pair, *other])
                their.append(owners[n])
        rows_P4 = np.array(rows, np.float64).reshape(-1, 4)
        if not rows_P4[:, [1, 3]].any(0).all():  # one of them has no such score
            continue
        interval = patient_interval(rows_P4, _less, their, seed)
        scores.append(
            Score(
                name=name,
                value=float(_less(rows_P4.sum(0))),
                low=interval.low,
                high=interval.high,
                unit=unit,
                n=len(rows),
                undefined=0,
                why_not=interval.why_not,
            )
        )
    return scores


def _less(totals: Floats) -> Floats:
    return _share(totals[..., 0], totals[..., 1]) - _share(totals[..., 2], totals[..., 3])


def _share(part: Floats, whole: Floats) -> Floats:
    """1 where neither mask of a draw has tumour, as everywhere."""
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
