"""A trained network gives the same answers from files as it did in its trial."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import brainseg
from brainseg.data.pack.square import from_square, to_square
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.table import read_slices
from brainseg.evaluation.metrics import count_pixels
from brainseg.inference.bundle import read_bundle, write_bundle
from brainseg.inference.sources import open_model
from brainseg.records.trial_folder import TrialDir
from tests.support.trials import TINY, nothing, run_of, trained


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=6, slices=6, size=48)


@pytest.fixture(scope="module")
def trial(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrialDir:
    run = run_of(data, tmp_path_factory.mktemp("run"))
    return trained(run, "0000", TINY, nothing)


def test_slices_from_files_score_as_in_the_trial(data: Path, trial: TrialDir) -> None:
    model = open_model(trial.path)
    table = read_slices(trial.path.parents[1] / "slices.csv")
    validated = table[table["part"] == "validation"]
    kept = trial.patients.read_text().splitlines()
    for patient, rows in validated.groupby("patient"):
        images = [read_image(data, image) for image in rows["image"]]
        masks = [to_square(read_mask(data, mask), TINY.image_size) for mask in rows["mask"]]
        prepared = model.prepare(images)
        squares = model.of_squares(prepared.squares_SNNC, prepared.scaling_SC3)
        logits = torch.from_numpy(squares) - 0.5
        counts = count_pixels(logits, torch.from_numpy(np.stack(masks))).sum(0).tolist()
        (line,) = [line for line in kept if line.startswith(f"{patient},")]
        assert line.split(",")[3:6] == list(map(str, counts))


def test_a_bundle_predicts_as_the_trial_does(trial: TrialDir, tmp_path: Path) -> None:
    of_trial = open_model(trial.path)
    write_bundle(tmp_path / "bundle", of_trial)
    of_bundle = brainseg.load(str(tmp_path / "bundle"))
    description = read_bundle(tmp_path / "bundle").description
    assert description.made and replace(description, made="") == of_trial.description
    image = np.random.default_rng(0).integers(0, 4000, (5, 40, 56, 3)).astype(np.uint16)
    probabilities = of_bundle.probabilities(image)
    assert probabilities.shape == (5, 40, 56) and probabilities.dtype == np.float32
    assert (probabilities == of_trial.probabilities(image)).all()
    mask = of_bundle.predict(image, threshold=0.4)
    assert mask.dtype == np.uint8 and (mask == (probabilities > 0.4)).all()
    one = of_bundle.predict(image[0])
    assert one.shape == (40, 56)


@pytest.mark.parametrize("size", [(48, 48), (40, 56), (57, 33), (1, 9), (301, 200)])
def test_the_way_back_undoes_the_square(size: tuple[int, int]) -> None:
    ramp = np.tile(np.linspace(0, 1, size[1], dtype=np.float32), (size[0], 1))
    back = from_square(to_square(ramp, max(size)), *size)
    assert back.shape == size and (back == ramp).all()
    assert from_square(to_square(ramp, 32).astype(np.float32), *size).shape == size
