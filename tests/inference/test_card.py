"""A model card says what a stranger must know, and nothing of the machine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.data.phantom import write_phantoms
from brainseg.inference.bundle import write_bundle
from brainseg.inference.card import card
from brainseg.inference.description import Description, Member, Threshold
from brainseg.inference.evaluate.results import TABLES, Evaluation, write_evaluation
from brainseg.inference.facts import shareable, weights_of
from brainseg.inference.sources import open_model
from tests.support.trials import TINY, nothing, run_of, trained

HOSTILE = "a<script>alert(1)</script> | **b**\nnext `c`"
CONFIG = TrialConfig(model=Encoder(name="resnet18"), image_size=64)
DATA = {"layout": "lgg", "fingerprint": "xxh3:1", "patients": 9, "slices": 90, "folds": 3}
PART = {"patients": 6, "slices": 60, "tumour_slices": 20}


def described(**more: Any) -> Description:
    members = (Member(trial="0001", seed=2, fold=0, epoch=7),)
    facts = {"name": "resnet18, imagenet", "kind": "trial", "members": members}
    return Description(**{**facts, "config": flatten(CONFIG), **more})  # type: ignore[arg-type]


def test_no_file_of_a_bundle_names_a_folder_of_the_machine(tmp_path: Path) -> None:
    data = write_phantoms(tmp_path / "data", patients=6, slices=6, size=48)
    run = run_of(data, tmp_path / "run")
    trial = trained(run, "0000", TINY, nothing)
    model = open_model(trial.path)
    write_bundle(tmp_path / "bundle", model)
    for name in ("model.json", "README.md"):
        text = (tmp_path / "bundle" / name).read_text()
        assert str(tmp_path) not in text and str(Path.home()) not in text
    facts = json.loads((tmp_path / "bundle" / "model.json").read_text())
    assert facts["image_size"] == 32 and facts["classes"]["1"] == "tumour"
    parts = facts["data"]["trained_on"], facts["data"]["validated_on"]
    assert sum(part["patients"] for part in parts) == 6
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "**Made-up images of no patient**" in text


def test_a_file_that_the_encoder_started_from_is_named_without_its_folder() -> None:
    config = replace(CONFIG, model=Encoder(name="resnet18", weights="/home/me/start.pth"))
    assert shareable(flatten(config))["model.encoder.weights"] == "start.pth"
    assert weights_of(config)["name"] == "start.pth"
    assert weights_of(config)["licence"] == "unknown"


@pytest.mark.parametrize(
    ("model", "name", "licence"),
    [
        (Plain(), "none", ""),
        (Encoder(name="resnet18", weights="none"), "none", ""),
        (Encoder(name="resnet18"), "imagenet", "BSD-3-Clause"),
        (Encoder(name="resnet50", weights="medical:radimagenet-resnet50"), "medical:rad", "MIT"),
        (Encoder(name="mobilenet_v2"), "imagenet", "unknown"),
    ],
)
def test_the_licence_of_the_first_weights_is_said(
    model: Encoder | Plain, name: str, licence: str
) -> None:
    weights = weights_of(replace(CONFIG, model=model))
    assert weights["name"].startswith(name) and weights["licence"] == licence
    text = card(described(weights=weights))
    says = f"licence: **{licence}**" if licence else "it started from random weights"
    assert says in text


def test_the_card_says_what_the_scores_are_worth() -> None:
    interval = {"dice": 0.8, "low": 0.7, "high": 0.85, "patients": 9}
    searched = card(described(scores={"measured": "in the search", "best_of": 40, **interval}))
    assert "0.800 (95 % interval 0.700 to 0.850) over 9 patients" in searched
    assert "chosen of 40 trials: it is high partly by luck" in searched
    folds = {"measured": "out of fold", "failed_patients": 2, **interval}
    ensemble = card(described(kind="ensemble", scores=folds))
    assert "of their average nothing was measured" in ensemble and "On 2 of these" in ensemble
    refit = card(described(kind="refit", scores={**folds, "of": "s-confirm"}))
    assert "of this network itself nothing was measured" in refit and "s-confirm" in refit
    assert "Nothing is recorded" in card(described())


def test_the_card_says_how_the_threshold_was_chosen() -> None:
    chosen = Threshold(value=0.35, chosen_on="x", patients=9, dice=0.81, dice_at_half=0.8)
    text = card(described(threshold=chosen))
    assert "above **0.35**" in text and "0.810, where 0.5 has 0.800" in text
    assert "not chosen on patients: the data" in card(
        described(threshold=Threshold(why="the data"))
    )


def test_a_threshold_without_its_dice_is_a_sentence() -> None:
    text = card(described(threshold=Threshold(value=0.35, chosen_on="a *few*")))
    assert "above **0.35**. It was chosen on a \\*few\\*." in text


def test_locked_patients_who_may_have_trained_are_not_praised() -> None:
    opening = {"name": "locked", "kind": "locked", "time": "t", "scores": [], "bad": 2}
    opening |= {"reason": "the masks *were* corrected", "notes": ["3 patients <also> trained"]}
    data = {**DATA, "locked": PART}
    scores = {"openings": [opening]}
    text = card(described(data=data, scores=scores))
    assert "Locked patients neither trained it" in text and "who had no part in it" in text
    assert "again because: the masks \\*were\\* corrected" in text
    assert "3 patients &lt;also> trained" in text and "cannot be scored: 2." in text
    leaking = {**data, "patients_in_several_parts": True}
    text = card(described(data=leaking, scores=scores, kind="refit"))
    assert "who had no part in it" not in text and "Locked patients neither" not in text
    assert "All slices but the locked ones trained it" in text
    assert "other slices of whom may have trained it" in text
    assert "others of the same patients may have." in text


def test_the_card_has_the_channels_and_how_levels_are_scaled() -> None:
    text = card(described(channels=("T1", "FLAIR", "T2")))
    assert "3 channels, in this order: 1 T1, 2 FLAIR, 3 T2." in text and "64 x 64" in text
    assert "whose names are not recorded" in card(described())
    imagenet = flatten(replace(CONFIG, normalise="imagenet"))
    assert "0.485" in card(described(config=imagenet)) and "0.485" not in text


def test_a_split_that_leaks_and_an_unknown_site_are_said() -> None:
    text = card(described(data={**DATA, "trained_on": PART, "patients_in_several_parts": True}))
    assert "are in several parts" in text and "| trained on | 6 | 60 | 20 |" in text
    assert "Where the patients were scanned is not recorded" in text
    assert "No patients are locked" in text


def test_names_of_others_are_text_and_no_markup() -> None:
    run = {"name": HOSTILE, "uid": "1", "question": HOSTILE}
    text = card(described(name=HOSTILE, run=run, data={**DATA, "sites": [HOSTILE]}))
    assert "<script>" not in text and "\nnext" not in text and "**b**" not in text


def test_what_locked_patients_showed_is_in_the_card_after_an_evaluation(tmp_path: Path) -> None:
    data = write_phantoms(tmp_path / "data", patients=6, slices=6, size=48)
    run = run_of(data, tmp_path / "run")
    trial = trained(run, "0000", TINY, nothing)
    model = open_model(trial.path)
    scores = pd.DataFrame(
        {"model": "a", "role": "winner", "resolution": ["native", "training"], "threshold": 0.5}
        | {"metric": "dice", "unit": "", "value": [0.71, 0.72], "low": [0.6, None], "high": 0.8}
        | {"n": 9, "undefined": 0, "why_not": ""}
    )
    named = {"name": "a", "digest": model.digest()}
    more = {"notes": ["They are few."], "reason": "masks were corrected", "bad": {"x": "why"}}
    facts = {"format": 1, "name": "locked", "kind": "locked", "time": "t", "data": {}, "rules": []}
    tables = [scores, *[pd.DataFrame({"model": ["a"]})] * 3]
    for name, digest in (("locked", model.digest()), ("other", "0")):
        shown = Evaluation(
            facts={**facts, **more, "models": [{**named, "digest": digest}]},
            **dict(zip(TABLES, tables, strict=True)),
        )
        write_evaluation(run.evaluations / name, shown)
    again = open_model(trial.path).description
    assert len(again.scores["openings"]) == 1
    text = card(again)
    assert "They are few." in text and "again because: masks were corrected" in text
    assert "cannot be scored: 1." in text
    assert "**On the locked patients**, who had no part in it" in text
    assert "| dice |  | 0.710 | 0.600 to 0.800 | 9 |" in text and "0.720" not in text
    write_bundle(tmp_path / "bundle", open_model(trial.path))
    assert open_model(tmp_path / "bundle").description.scores == again.scores
