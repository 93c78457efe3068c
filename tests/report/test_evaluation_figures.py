"""Figures of an evaluation: every patient and bin can be hovered over, no input breaks them."""

from xml.etree import ElementTree

import numpy as np
import pytest

from brainseg.evaluation.agreement import agreement
from brainseg.evaluation.calibration import reliability
from brainseg.report.figures.agreement import PatientVolume, bland_altman
from brainseg.report.figures.reliability import reliability_diagram
from tests.support.small_run import HOSTILE


def texts(svg: str, tag: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(tag)]


def drawn(true: list[float], predicted: list[float], unit: str = "ml") -> str:
    volumes = [
        PatientVolume(patient=f"{HOSTILE}{n}", true=pair[0], predicted=pair[1])
        for n, pair in enumerate(zip(true, predicted, strict=True))
    ]
    return bland_altman(volumes, agreement(true, predicted), unit)


def test_every_patient_is_a_dot_with_its_volumes() -> None:
    svg = drawn([10.0, 20.0, 30.0, 2.0], [12.0, 18.0, 33.0, 0.0])
    assert f"{HOSTILE}2: true 30, predicted 33 ml" in texts(svg, "title")
    assert len(texts(svg, "title")) == 4


def test_bias_and_limits_are_named_with_their_intervals() -> None:
    shown = " ".join(texts(drawn([10.0, 20.0, 30.0], [11.0, 21.0, 34.0]), "text"))
    assert "bias 2 " in shown and "upper limit 5.39 " in shown and "lower limit -1.39 " in shown
    assert "(-2.3 to 6.3)" in shown


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_without_limits_there_are_dots_alone(patients: int) -> None:
    svg = drawn([5.0] * patients, [6.0] * patients, "pixels")
    assert len(texts(svg, "title")) == patients
    assert not any("limit" in text for text in texts(svg, "text"))


def test_volumes_that_all_agree_are_drawn() -> None:
    shown = texts(drawn([1e5, 2e5, 3e5], [1e5, 2e5, 3e5], "pixels"), "text")
    assert "300,000" in shown and any("bias 0" in text for text in shown)


def test_every_filled_bin_is_a_dot_with_its_pixels() -> None:
    probability = np.array([0.05, 0.05, 0.95, 0.95])
    bins = reliability(probability, np.array([0, 1, 1, 1]))
    svg = reliability_diagram({"all pixels": bins, "near <tumour>": bins * 2})
    assert "near <tumour>: probability 0.050, tumour 0.500, 4 pixels" in texts(svg, "title")
    assert len(texts(svg, "title")) == 4
    assert "all pixels: ECE 0.2500" in texts(svg, "text")


@pytest.mark.parametrize("pixels", [0, 1])
def test_no_pixel_and_one_pixel_are_drawn(pixels: int) -> None:
    bins = reliability(np.ones(pixels), np.ones(pixels))
    shown = texts(reliability_diagram({"near tumour": bins}), "text")
    assert ("near tumour: no pixel" in shown) == (pixels == 0)
