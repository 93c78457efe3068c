"""A model computes in bfloat16 only where a measurement says that it is faster."""

import numpy as np
import pytest
import torch

from brainseg.inference.predict.precision import set_precision
from brainseg.training.compute.answers import Answers
from tests.support.models import tiny_model
from tests.support.scans import noise


@pytest.mark.parametrize("bfloat16, chosen", [(0.5, "bfloat16"), (0.99, "float32")])
def test_the_figures_decide_and_are_measured_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    bfloat16: float,
    chosen: str,
) -> None:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
    model, answers = tiny_model(), Answers(torch.device("cpu"))
    measured = answers.forwards(model.description.trial_config)
    assert set(measured) == {
        "float32",
        "float32, channels last",
        "bfloat16, channels last",
    } and all(seconds > 0 for seconds in measured.values())
    figures = {"float32": 1.0, "float32, channels last": 1.0, "bfloat16, channels last": bfloat16}
    content = answers._read()
    content["forwards"] = dict.fromkeys(content["forwards"], figures)
    answers._write(content)
    assert set_precision(model, "auto") == chosen
    assert model.machine.compute.precision == chosen


def test_what_is_asked_for_is_taken_and_rounds_alone() -> None:
    model, image = tiny_model(), noise(4, 40, 40, 3)
    exact = model.probabilities(image)
    assert set_precision(model, "bfloat16") == "bfloat16"
    rounded = model.probabilities(image)
    assert not np.array_equal(exact, rounded) and np.abs(exact - rounded).max() < 0.01
    assert set_precision(model, "float32") == "float32"
    assert np.abs(model.probabilities(image) - exact).max() <= 1e-6
