"""Laws of the page, on a small made-up run: whole, self-contained, and honest as the report is."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build, flatten, parse
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report.figures import curves, slices
from tests.support.reports import Tags, written
from tests.support.small_run import HOSTILE, begin, end, four_trials, in_folds, paint, train
from tests.support.written import write_json


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return four_trials(tmp_path / "encoders")


def test_whatever_a_name_holds_the_page_stays_whole(tmp_path: Path) -> None:
    data = {"root": HOSTILE, "fingerprint": HOSTILE, "patients": 1, "slices": 1}
    data |= {"tumour_slices": 1, "made_up": False}
    run = begin(tmp_path / "encoders", question=HOSTILE, name=HOSTILE, command=HOSTILE, data=data)
    for trial in ("0000", "0001"):
        train(run, trial, [0.5, 0.6])
        table = pd.read_csv(run.trial(trial).patients)
        table.assign(patient=HOSTILE).to_csv(run.trial(trial).patients, index=False)
        paint(run, trial, [HOSTILE], epoch=2)
        run.note(trial, "done", configuration=HOSTILE, reason=HOSTILE)
    text = written(run)
    tags = Tags(text)
    assert "script" not in tags.names and "<script" not in text
    assert tags.text.count("$\\no$<script>alert('x')</script>&amp;[red]") > 10


def test_the_page_loads_nothing_from_anywhere(run: Run) -> None:
    text = written(run)
    tags = Tags(text)
    assert tags.links and all(re.match("#|data:image/png;base64,", link) for link in tags.links)
    assert not tags.names & {"script", "link", "iframe", "object", "embed", "base"}
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_every_link_leads_to_one_place_in_the_page(run: Run) -> None:
    text = written(run)
    tags = Tags(text)
    assert len(set(tags.ids)) == len(tags.ids)
    targets = [link for link in tags.links if link.startswith("#")]
    assert "#ranking" in targets and set(targets) <= {f"#{name}" for name in tags.ids}
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(tags.ids)


def test_test_patients_are_named_where_there_are_some(tmp_path: Path) -> None:
    locked = begin(tmp_path / "locked")
    split = locked.settings()["split"]
    nobody = {part: held for part, held in split["counts"].items() if part != "test"}
    free = begin(tmp_path / "free", split=split | {"test": 0.0, "counts": nobody})
    for run in (locked, free):
        train(run, "0000", [0.5, 0.6])
        end(run, "0000", "done")
    assert "no trial uses the test patients" in written(locked)
    assert "test patients" not in written(free)


def test_the_page_has_every_part(run: Run) -> None:
    text = Tags(written(run)).text
    for part in ("Ranking", "Validation Dice", "Loss and learning rate", "Patients", "Slices"):
        assert part in text
    assert "at epoch 2 it fell behind" in text and f"not finite on {HOSTILE}" in text
    assert "1 done, 1 stopped, 1 failed, 1 running" in text
    assert "no tumour, none predicted" not in text and "slice Dice 1.00" in text
    assert "007: 0.900" in text and "NA: 0.800" in text  # names, no number and no gap
    assert "0.333" in text  # what predicting nothing scores
    assert "copies the nearest slice: there is none" in text
    assert "Not a medical device." in text


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_without_a_score_says_so(tmp_path: Path, begun: bool) -> None:
    run = begin(tmp_path / "encoders")
    if begun:
        run.note("0000", "running", configuration="resnet50", params=flatten(TrialConfig()))
        run.note("0000", "failed", reason="out of memory")
    text = Tags(written(run)).text
    assert "No trial has finished" in text
    assert ("out of memory" in text) == begun


def test_a_trial_without_patients_or_panels_is_reported_all_the_same(run: Run) -> None:
    run.trial("0001").patients.unlink()
    run.trial("0001").panels.unlink()
    assert "vgg16, imagenet; adamw (trial 0001) scored highest" in Tags(written(run)).text


def test_damaged_panels_are_named_and_the_rest_is_written(run: Run) -> None:
    run.trial("0001").panels.write_bytes(run.trial("0001").panels.read_bytes()[:900])
    assert "panels.npz cannot be read" in Tags(written(run)).text


def test_a_split_by_slices_says_that_it_leaks(run: Run) -> None:
    split = {"by": "slices", "validation": 0.2, "test": 0.1, "seed": 0, "counts": {}}
    leaky = begin(run.path, split=split | {"shared_patients": 3, "seed": 7})
    assert "The split leaks" in Tags(written(leaky)).text
    assert "--split slices" in written(leaky) and "--split-seed 7" in written(leaky)


def test_a_split_by_patients_does_not_leak(run: Run) -> None:
    assert "leak" not in Tags(written(run)).text


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"model": "plain", "model.plain.width": 16, "image_size": 64},
        {"model.encoder.freeze": "first", "model.encoder.freeze.first.blocks": 3, "epochs": 7},
        {"model.encoder.weights": "/my weights/it's.pth", "optimizer.adamw.lr": 0.1 + 0.2},
        {"optimizer": "sgd", "schedule": "triangular", "loss": "focaltversky"},
        {"sync_batch_norm": True, "precision": "float32", "clip_norm": 0.0},
    ],
)
def test_the_command_rebuilds_the_leader(tmp_path: Path, params: Params) -> None:
    run = begin(tmp_path / "encoders")
    train(run, "0000", [0.5], params)
    command = re.search(r"<pre>(.*?)</pre>", written(run), re.DOTALL)
    assert command
    words = shlex.split(Tags(command[0]).text.replace("\\\n", " "))
    assert words[:4] == ["brainseg", "train", "--data", "/data/my scans"]
    settings = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    replayed = build(TrialConfig(), dict(parse(TrialConfig, word) for word in settings))
    assert replayed == build(TrialConfig(), params)


def test_a_sweep_in_folds_shows_its_configurations_and_how_to_train_the_first_again(
    tmp_path: Path,
) -> None:
    run = in_folds(tmp_path, {"vgg16": [[0.5, 0.9]], "resnet18": [[0.6, 0.95]]})
    text = Tags(written(run)).text
    assert "networks that never saw them" in text and "One split and one or few seeds" not in text
    for trial in ("0000", "0002"):
        assert f"trial {trial}, at epoch" in text, "the same patients for every configuration"
    assert "trial 0001, at epoch" not in text
    write_json(run.sweep, read_json(run.sweep) | {"confirms": {"top": 3, "search": HOSTILE}})
    assert f"Confirmsthe best 3 of{HOSTILE}" in Tags(written(run)).text
    command = text[text.index("brainseg train") :]
    assert "--folds 2" in command and "model.encoder.name=resnet18" in command


def test_made_up_patients_are_called_so(run: Run) -> None:
    sweep = read_json(run.sweep)
    made_up = begin(run.path, data=sweep["data"] | {"made_up": True})
    assert "made up" in Tags(written(made_up)).text


def test_many_trials_still_make_a_light_page(tmp_path: Path) -> None:
    run = begin(tmp_path / "encoders")
    for n in range(30):
        train(run, f"{n:04d}", [n / 100, n / 50, n / 40])
        end(run, f"{n:04d}", "done")
    text = written(run)
    assert len(text) < 3_000_000
    assert len(re.findall(r"<title>\d{4}: resnet50", text)) == 30  # every curve has its name


def test_the_same_records_draw_the_same_page(run: Run) -> None:
    stamp = re.compile(r"Written by .*? UTC")
    assert stamp.sub("", written(run)) == stamp.sub("", written(run))


def test_an_outline_follows_the_edges_of_pixels() -> None:
    mask = np.zeros((4, 5), np.uint8)
    assert slices.outline(mask) == ""
    mask[1, 2] = 1
    assert set(re.findall(r"M[^M]+", slices.outline(mask))) == {
        "M2 1h1", "M2 2h1", "M2 1v1", "M3 1v1"
    }  # fmt: skip
    assert slices.outline(np.ones((4, 5), np.uint8)).count("M") == 2 * (4 + 5)


@pytest.mark.parametrize("heights", [[], [0.5], [0.1, 0.9], [0.5, 0.5, 0.5], [0.3, 0.1, 0.31, 0.2]])
def test_labels_keep_their_distance_and_their_order(heights: list[float]) -> None:
    placed = curves.spread(heights, gap=0.1)
    assert np.argsort(placed, kind="stable").tolist() == np.argsort(heights, kind="stable").tolist()
    assert all(np.diff(sorted(placed)) > 0.1 - 1e-9)
    if not any(np.diff(sorted(heights)) < 0.1):
        assert placed == heights
