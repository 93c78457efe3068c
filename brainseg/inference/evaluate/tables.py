"""What was scored as tables: a row a score, a patient, a bin of probabilities, an agreement."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from brainseg.evaluation.agreement import Bound, agreement
from brainseg.evaluation.calibration import Bins, reliability_table
from brainseg.evaluation.differences import differences
from brainseg.evaluation.scoring import SHARES, Score, summarise
from brainseg.inference.evaluate.cohort import Cohort
from brainseg.inference.evaluate.scoring import Resolution, Scored, patient_rows

AGREEMENT = [
    *("model", "volume", "patients", "bias", "bias_low", "bias_high"),
    *("lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high", "deviation"),
]


def score_table(scored: Sequence[Scored], cohort: Cohort) -> pd.DataFrame:
    """A row a model, resolution and metric; the first model is the one that others are less."""
    firsts = cohort.table.drop_duplicates("patient")
    persons = firsts["person"].tolist()
    rows = []
    for of in scored:
        other = _same_way(scored, of)
        gaps = differences(of.cases, other.cases, persons) if other else []
        by_name = {(gap.name, gap.unit): gap for gap in gaps}
        for score in summarise(of.cases, persons):
            if of.role == "baseline" and score.name not in SHARES:
                continue  # of masks that say nothing of probabilities, nor of surfaces
            gap = by_name.get((score.name, score.unit))
            rows.append(_score_row(of, score) | _difference(gap))
    return pd.DataFrame(rows)


def _same_way(scored: Sequence[Scored], of: Scored) -> Scored | None:
    """The first model as scored in the same way; None for itself."""
    if of.model == scored[0].model:
        return None
    first = {other.resolution: other for other in scored if other.model == scored[0].model}
    return first.get(of.resolution) or first[_at_own_threshold(of.resolution)]


def _at_own_threshold(resolution: Resolution) -> Resolution:
    """How the first model was scored, whose own threshold is 0.5, where another's is not."""
    return "training" if resolution.startswith("training") else "native"


def _score_row(of: Scored, score: Score) -> dict[str, Any]:
    return {
        "model": of.model,
        "role": of.role,
        "resolution": of.resolution,
        "threshold": of.threshold,
        "metric": score.name,
        "unit": score.unit,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "n": score.n,
        "undefined": score.undefined,
        "why_not": score.why_not,
    }


def _difference(gap: Score | None) -> dict[str, Any]:
    return {
        "difference": gap.value if gap else None,
        "difference_low": gap.low if gap else None,
        "difference_high": gap.high if gap else None,
    }


def patient_table(scored: Sequence[Scored], cohort: Cohort) -> pd.DataFrame:
    """A row a patient, model and resolution."""
    return pd.DataFrame([row for of in scored for row in patient_rows(of, cohort)])


def bins_table(scored: Sequence[Scored]) -> pd.DataFrame:
    """A row a model, region and bin, at the native resolution."""
    tables = []
    for of in scored:
        if of.resolution != "native" or of.role == "baseline":
            continue  # whose masks say nothing of probabilities
        for region, name in (("all", "bins"), ("near tumour", "near_bins")):
            total: Bins = sum(getattr(case, name) for case in of.cases)
            table = reliability_table(total)
            table.insert(0, "model", of.model)
            table.insert(1, "region", region)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def agreement_table(scored: Sequence[Scored]) -> pd.DataFrame:
    """A row a model and unit: bias and limits of predicted less true volume, native resolution."""
    rows = []
    for of in scored:
        for length in ("mm", "pixels"):
            cases = [case for case in of.cases if case.length == length]
            agreed = agreement(
                [case.true_volume for case in cases], [case.predicted_volume for case in cases]
            )
            if of.resolution != "native" or of.role == "baseline" or agreed is None:
                continue
            volume = "ml" if length == "mm" else "pixels"
            row = {"model": of.model, "volume": volume, "patients": agreed.patients}
            for name in ("bias", "lower", "upper"):
                bound: Bound = getattr(agreed, name)
                ends = asdict(bound)
                row |= {
                    name: ends["value"],
                    f"{name}_low": ends["low"],
                    f"{name}_high": ends["high"],
                }
            rows.append(row | {"deviation": agreed.deviation})
    return pd.DataFrame(rows, columns=AGREEMENT)
