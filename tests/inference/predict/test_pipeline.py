"""Cases that are read ahead and batched together have the probabilities of each alone."""

from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.inference.model import Model
from brainseg.inference.predict import pipeline
from brainseg.inference.predict.pipeline import Case, cases_of, predicted
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=5, slices=9, size=40)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def of_slices(model: Model, case: Case, *, flip: bool = False) -> list[np.ndarray]:
    return model.of_slices([read_image(case.root, *place) for place in case.places], flip=flip)


@pytest.mark.parametrize("flip", [False, True])
def test_patients_have_the_probabilities_of_each_alone(
    data: Path, model: Model, flip: bool
) -> None:
    cases = cases_of(find_slices(data), data)
    assert len(cases) == 5
    outcomes = list(predicted(model, cases, flip=flip))
    assert [case for case, _ in outcomes] == cases
    for case, probabilities in outcomes:
        assert isinstance(probabilities, list)
        for one, other in zip(probabilities, of_slices(model, case, flip=flip), strict=True):
            assert one.shape == (40, 40) and one.dtype == np.float32
            assert np.abs(one - other).max() <= 1e-6


def test_one_whose_batch_holds_nothing_else_is_equal_to_the_bit(data: Path, model: Model) -> None:
    case = cases_of(find_slices(data), data)[2]
    ((_, probabilities),) = predicted(model, [case], threads=1)
    assert isinstance(probabilities, list)
    pairs = zip(probabilities, of_slices(model, case), strict=True)
    assert all((one == other).all() for one, other in pairs)


def test_files_that_cannot_be_read_cost_their_case_alone(
    data: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "AHEAD", 10)  # so that reading waits for the network
    places = [place for case in cases_of(find_slices(data), data) for place in case.places]
    (tmp_path / "cut.tif").write_bytes((data / places[0][0]).read_bytes()[:300])
    pictures = [Case(place[0], data, (place,)) for place in places]
    pictures.insert(7, Case("cut", tmp_path, (("cut.tif", -1, -1, ""),)))
    pictures.append(Case("gone", tmp_path, (("gone.tif", -1, -1, ""),)))
    outcomes = dict(predicted(model, iter(pictures)))
    errors = {case.name: str(o) for case, o in outcomes.items() if isinstance(o, ValueError)}
    assert list(outcomes) == pictures and list(errors) == ["cut", "gone"]
    assert "cut.tif cannot be decoded" in errors["cut"] and "gone.tif is missing" in errors["gone"]


def test_who_takes_the_first_case_only_ends_the_reading(data: Path, model: Model) -> None:
    outcomes = predicted(model, cases_of(find_slices(data), data))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
