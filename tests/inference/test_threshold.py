"""A threshold is chosen on patients that the networks were not trained on, once."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import pandas as pd
import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.evaluation.metrics import dice
from brainseg.inference.sources import open_model
from brainseg.inference.threshold import THRESHOLDS, best, count_above
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import TrialState
from tests.support.trials import TINY, nothing, run_of, trained

HALF = 9  # the place of 0.5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_phantoms(tmp_path / "data", patients=6, slices=6, size=48)


@pytest.fixture
def trial(data: Path, tmp_path: Path) -> TrialDir:
    return trained(run_of(data, tmp_path / "run"), "0000", TINY, nothing)


def test_pixels_are_counted_at_each_threshold_as_a_mask_counts_them() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((40, 40), np.float32)
    probability[0] = np.resize(THRESHOLDS, 40)  # on a threshold is not above it
    mask = (rng.random((40, 40)) > 0.7).astype(np.uint8)
    counts = count_above(probability, mask)
    for threshold, (hits, extra, missed) in zip(THRESHOLDS.tolist(), counts, strict=True):
        tumour = probability > threshold
        assert hits == (tumour & (mask == 1)).sum()
        assert extra == (tumour & (mask == 0)).sum()
        assert missed == (~tumour & (mask == 1)).sum()


def test_the_threshold_is_that_of_the_highest_mean_dice_over_patients() -> None:
    first, second = np.zeros((2, 19, 3), np.int64)
    first[:, 0], second[:, 0] = 50, 5000
    first[:, 1], second[:, 1] = 40, 100
    first[3, 1] = 0  # 0.20 is best for the small tumour, and so for the mean over patients
    second[12, 1] = 0  # 0.65 is best for the large one, and so for all pixels together
    chosen = best([dict.fromkeys("acde", first) | {"b": second}], "patients")
    assert chosen.value == 0.2 and chosen.patients == 5
    assert chosen.dice == pytest.approx(np.mean([*[dice(first[3])] * 4, dice(second[3])]))
    at_half = [*[dice(first[HALF])] * 4, dice(second[HALF])]
    assert chosen.dice_at_half == pytest.approx(np.mean(at_half))


def test_a_patient_of_two_seeds_counts_once_with_the_mean() -> None:
    counts = np.full((19, 3), 10)
    better = np.array([[20, 0, 0]] * 19)
    chosen = best([{"a": counts, "b": counts}, {"a": better}], "patients")
    assert chosen.patients == 2 and chosen.dice == pytest.approx((0.75 + 0.5) / 2)


@pytest.mark.parametrize(
    ("edges", "value"), [([0, 18], 0.05), ([2, 16], 0.15), ([7, 12], 0.4), ([], 0.5)]
)
def test_of_thresholds_as_good_the_nearest_to_a_half_is_taken(
    edges: list[int], value: float
) -> None:
    counts = np.array([[10, 4, 4]] * 19)
    counts[edges, 1] = 0
    assert best([{"a": counts, "b": counts}], "patients").value == value


def test_a_half_stays_unless_more_than_chance_speaks_against_it() -> None:
    steady, lucky, unlucky = (np.tile([100, 40, 0], (19, 1)) for _ in range(3))
    steady[3, 1], lucky[3, 1], unlucky[3, 1] = 38, 0, 70
    chosen = best([{"a": lucky, "b": unlucky, "c": steady}], "patients")
    assert chosen.value == 0.5 and chosen.dice == chosen.dice_at_half
    assert best([dict.fromkeys("abc", steady)], "patients").value == 0.2
    assert best([{"a": lucky}], "patients").value == 0.5, "one patient shows no chance"


def test_the_counts_at_a_half_are_those_of_the_trial(trial: TrialDir) -> None:
    chosen = open_model(trial.path).description.threshold
    kept = pd.read_csv(trial.patients)
    assert chosen.dice_at_half == pytest.approx(kept["dice"].mean(), abs=1e-12)
    assert chosen.patients == len(kept) and chosen.dice is not None and not chosen.why
    assert chosen.dice >= chosen.dice_at_half
    held = json.loads((trial.path / "threshold.json").read_text())["counts"]
    for row in kept.itertuples():
        assert held[row.patient][HALF] == [row.tp, row.fp, row.fn]


def test_what_was_scored_is_not_scored_again(trial: TrialDir, data: Path) -> None:
    lines: list[str] = []
    first = open_model(trial.path, log=lines.append).description.threshold
    assert any("trial 0000 predicts its validation patients" in line for line in lines)
    lines.clear()
    rmtree(data)
    assert open_model(trial.path, log=lines.append).description.threshold == first and not lines


@pytest.mark.parametrize("held", ["", "{}", '{"sha256": "0", "counts": {}}', '{"sha256": 1'])
def test_what_was_scored_with_other_weights_is_scored_again(trial: TrialDir, held: str) -> None:
    first = open_model(trial.path).description.threshold
    (trial.path / "threshold.json").write_text(held)
    assert open_model(trial.path).description.threshold == first


def test_without_the_data_the_threshold_is_a_half_and_says_why(
    trial: TrialDir, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "elsewhere"))  # without the pack
    rmtree(data)
    lines: list[str] = []
    chosen = open_model(trial.path, log=lines.append).description.threshold
    assert chosen.value == 0.5 and not chosen.chosen_on and chosen.dice is None
    assert chosen.why == "the data that it would be chosen on could not be read"
    assert lines[-1].startswith(f"the threshold is 0.5, since {chosen.why}: ")
    assert str(data) in lines[-1]
    assert not (trial.path / "threshold.json").exists()


def test_a_folder_that_cannot_be_written_to_is_no_error(trial: TrialDir) -> None:
    (trial.path / "threshold.json").mkdir()
    assert open_model(trial.path).description.threshold.chosen_on


def test_a_refit_has_the_threshold_of_the_configuration_that_it_trains_again(
    trial: TrialDir, data: Path, tmp_path: Path
) -> None:
    run = Run(trial.path.parents[1])
    settings = json.loads(run.sweep.read_text()) | {"strategy": {"kind": "points"}}
    run.sweep.write_text(json.dumps(settings))
    trained(run, "0001", TINY, nothing)  # keeps its last network, as a list's trials do
    for state in (TrialState.RUNNING, TrialState.DONE):
        run.note("0001", state, params=trial.params(), configuration="plain", dice=0.5)
    expected = open_model(run.path).description.threshold
    refit = run_of(data, tmp_path / "run-refit", kind="points")
    refits = {"run": str(tmp_path / "moved"), "name": "run", "uid": "0123abcd", "trial": "0001"}
    facts = {"group": "run", "configuration": "plain", "measured": "in validation", "patients": 2}
    refit.sweep.write_text(json.dumps({**settings, "refits": refits | facts}))
    trained(refit, "0000", TINY, nothing)
    for state in (TrialState.RUNNING, TrialState.DONE):
        refit.note("0000", state, params=trial.params(), configuration="plain")
    model = open_model(run.path)
    assert model.description.kind == "refit"
    assert model.description.threshold == replace(expected, chosen_on=f"{expected.chosen_on} (run)")
    rmtree(run.path)
    gone = open_model(refit.path).description.threshold
    assert gone.value == 0.5 and "run, the run that it would be chosen in" in gone.why
