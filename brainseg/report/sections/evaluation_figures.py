"""The figures of an opening: volumes and probabilities of the winner beside the truth."""

import numpy as np
import pandas as pd

from brainseg.evaluation.agreement import agreement
from brainseg.evaluation.calibration import Bins
from brainseg.inference.evaluate.results import Evaluation
from brainseg.report.figures.agreement import PatientVolume, bland_altman
from brainseg.report.figures.reliability import reliability_diagram
from brainseg.report.html import Figure

NAMES = {"all": "all pixels", "near tumour": "near tumour"}


def figures(evaluation: Evaluation) -> list[Figure]:
    """Bland and Altman's plot, one for each unit, and the reliability diagram."""
    return [*_volumes(evaluation), _reliability(evaluation)]


def _volumes(evaluation: Evaluation) -> list[Figure]:
    table = evaluation.patients
    table = table[(table["model"] == evaluation.winner) & (table["resolution"] == "native")]
    plots = []
    for unit, rows in table.groupby("volume"):
        true, predicted = rows["true_volume"].tolist(), rows["predicted_volume"].tolist()
        volumes = [
            PatientVolume(patient=str(patient), true=t, predicted=p)
            for patient, t, p in zip(rows["patient"], true, predicted, strict=True)
        ]
        plot = bland_altman(volumes, agreement(true, predicted), str(unit))
        caption = (
            f"Volumes of {evaluation.winner}, a dot a patient. Solid: the mean difference; dashed: "
            "the limits between which 95 % of patients lie; bands: their 95 % intervals."
        )
        plots.append(Figure(plot, caption))
    return plots


def _reliability(evaluation: Evaluation) -> Figure:
    table = evaluation.reliability
    table = table[table["model"] == evaluation.winner]
    bins = {
        NAMES.get(str(region), str(region)): _bins(rows[["pixels", "probability", "tumour"]])
        for region, rows in table.groupby("region", sort=False)
    }
    caption = (
        f"Probabilities of {evaluation.winner} at the native resolution. On the diagonal a "
        "probability means what it says; below it the model is too sure of tumour."
    )
    return Figure(reliability_diagram(bins), caption)


def _bins(rows: pd.DataFrame) -> Bins:
    """What the shares of a table were worked out from."""
    pixels_M, probability_M, tumour_M = np.nan_to_num(np.asarray(rows, np.float64)).T
    return np.stack([pixels_M, pixels_M * probability_M, pixels_M * tumour_M], axis=1)
