"""`brainseg.load` from Python: what it needs, takes and refuses."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import brainseg
from brainseg.inference.bundle import write_bundle
from brainseg.inference.model import Model
from tests.inference.test_bundle import SMALL, model_of

PROGRAM = """
import sys
import brainseg
assert "torch" not in sys.modules and "numpy" not in sys.modules, "brainseg alone is light"
import numpy as np
model = brainseg.load(sys.argv[1])
mask = model.predict(np.arange(2 * 30 * 40 * 3, dtype=np.uint16).reshape(2, 30, 40, 3))
assert mask.shape == (2, 30, 40) and mask.dtype == np.uint8
heavy = ("ray", "wandb", "matplotlib", "optuna", "albumentations", "rich", "pandas")
print(sorted(name for name in heavy if name in sys.modules))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load") / "bundle"
    write_bundle(folder, model_of(SMALL, channels=("T1", "FLAIR", "T2")))
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return brainseg.load(str(bundle))


def test_a_bundle_needs_neither_ray_nor_wandb_nor_what_a_search_needs(bundle: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bundle)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", ">i2", "int16", "int64", "float16", "float32", "float64", "g"]
)
def test_numbers_of_every_type_are_taken(model: Model, dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 200, (2, 30, 40, 3)).astype(dtype)
    mask = model.predict(image)
    assert mask.shape == (2, 30, 40) and mask.dtype == np.uint8 and set(mask.flat) <= {0, 1}
    probabilities = model.probabilities(image)
    assert probabilities.dtype == np.float32 and ((probabilities >= 0) & (probabilities <= 1)).all()
    as_float = model.probabilities(image.astype(np.float64))
    if dtype != "uint8":  # which has a scale of its own
        assert np.array_equal(as_float, probabilities)


def test_a_slice_alone_is_a_patient_of_one_slice(model: Model) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (30, 41, 3)).astype(np.uint16)
    assert (model.probabilities(image) == model.probabilities(image[None])[0]).all()
    assert model.predict(image).shape == (30, 41)


def test_an_image_of_one_channel_needs_no_axis_for_it() -> None:
    model = model_of(replace(SMALL, channels=1))
    image = np.random.default_rng(0).random((3, 30, 40))
    expected = model.probabilities(image[..., None])
    assert (model.probabilities(image) == expected).all() and expected.shape == (3, 30, 40)
    assert model.predict(image[0]).shape == (30, 40)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((30, 40)), r"must be \(H, W, 3\) or \(S, H, W, 3\), channels T1, FLAIR, T2, got"),
        (np.zeros((3, 30, 40)), r"got \(3, 30, 40\); put the channels last"),
        (np.zeros((2, 30, 40, 4)), "got"),
        (np.zeros((0, 30, 40, 3)), "got"),
        (np.zeros(()), "got"),
        (np.zeros((30, 40, 3), bool), "must hold integers or floating point, this one is bool"),
        (np.zeros((30, 40, 3), complex), "this one is complex128; convert it"),
        (np.full((30, 40, 3), "a"), "this one is <U1"),
        (np.full((2, 2, 3), np.nan), "12 of this one are NaN or infinite; write 0"),
        (np.full((2, 2, 3), np.inf), "12 of this one are NaN or infinite"),
    ],
)
def test_what_is_no_image_is_refused(model: Model, image: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model.predict(image)


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 50, float("nan")])
def test_a_threshold_is_a_probability(model: Model, threshold: float) -> None:
    with pytest.raises(ValueError, match="a threshold must lie between 0 and 1, got"):
        model.predict(np.zeros((30, 40, 3)), threshold=threshold)


def test_a_model_says_what_it_is(model: Model) -> None:
    assert repr(model) == (
        "<Model 'small': trial of 1 network, channels T1, FLAIR, T2, 32 pixels, "
        f"threshold 0.5, {model.machine.device}>"
    )
