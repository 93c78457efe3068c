"""Locked patients are scored once, as trials are scored, and whoever looks again says why."""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.hyperparameters import Plain
from brainseg.config.schema import flatten
from brainseg.data.fingerprint import file_contents, fingerprint
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.table import read_slices
from brainseg.evaluation.metrics import dice
from brainseg.evaluation.scoring import summarise
from brainseg.inference.evaluate.cohort import Cohort
from brainseg.inference.evaluate.evaluate import Question, evaluate
from brainseg.inference.evaluate.results import read_evaluation
from brainseg.inference.evaluate.scoring import score_model
from brainseg.inference.sources import open_model
from brainseg.inference.trained import refit_of
from brainseg.inference.winner import rank
from brainseg.records.locks import locked
from brainseg.records.run import Run
from tests.support.opened import SHORT, locked_run, settings
from tests.support.sweeps import brainseg

WIDE = replace(SHORT, model=Plain(width=6, depth=2, dropout=0.0, norm="none"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "kaggle"
    return write_phantoms(folder, patients=12, slices=6, size=48)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside") / "hospital"
    return write_phantoms(folder, patients=4, slices=5, size=40, seed=7)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return locked_run(data, tmp_path_factory.mktemp("run") / "encoders", (SHORT, WIDE))


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy, in which nothing was opened."""
    return Run(Path(shutil.copytree(trained.path, tmp_path / "runs" / "encoders")))


def silent(items: Iterable[Any], total: int | None = None) -> Iterable[Any]:
    return items


def nothing(message: str) -> None:
    pass


def cohort(run: Run, data: Path, part: str) -> Cohort:
    table = read_slices(run.slices)
    table = table[table["part"] == part].reset_index(drop=True)
    return Cohort(
        name=part,
        kind="locked",
        table=table.assign(person=table["patient"]),
        root=data,
        fingerprint=fingerprint(table, data),
    )


def test_at_the_training_resolution_a_trial_scores_what_it_recorded(run: Run, data: Path) -> None:
    model = open_model(run.path / "trials" / "0000")
    native, *_, training = score_model(
        model, "m", "winner", cohort(run, data, "validation"), silent
    )
    recorded = pd.read_csv(run.trial("0000").last)
    counts = [list(case.counts) for case in training.cases]
    assert counts == recorded[["tp", "fp", "fn"]].to_numpy().tolist()
    last = run.trial("0000").rows()[-1]
    scores = {score.name: score.value for score in summarise(training.cases)}
    for name in ("dice", "iou", "micro_dice", "micro_iou", "tumour_slice_dice"):
        assert scores[name] == pytest.approx(last.number(name), abs=1e-12), name
    for name in ("slice_dice_empty1", "false_alarm"):
        assert scores[name] == pytest.approx(last.number(name), abs=1e-12), name
    assert [case.slices for case in native.cases] == [case.slices for case in training.cases]


def test_the_native_resolution_is_that_of_the_files(run: Run, data: Path) -> None:
    model = open_model(run.path / "trials" / "0000")
    locked = cohort(run, data, "test")
    native = score_model(model, "m", "winner", locked, silent)[0]
    counts = []
    for _, rows in locked.table.groupby("patient", sort=False):
        images = [read_image(data, image) for image in rows["image"]]
        pixels = np.stack(model.of_slices(images)) > model.threshold
        truth = np.stack([read_mask(data, mask) for mask in rows["mask"]]) > 0
        assert truth.shape[1:] == (48, 48)
        counts.append([(pixels & truth).sum(), (pixels & ~truth).sum(), (~pixels & truth).sum()])
    assert [case.dice for case in native.cases] == dice(np.array(counts)).tolist()


def test_locked_patients_are_opened_once(run: Run) -> None:
    first = brainseg("evaluate", str(run.path))
    assert first.status == 0, first
    assert "locked patients, opened on" in first.stdout and "95 % interval" in first.stdout
    (opening,) = run.openings()
    assert (opening["name"], opening["kind"], opening["reason"]) == ("locked", "locked", "")
    assert opening["command"] == f"brainseg evaluate {run.path}"
    assert {len(model["digest"]) for model in opening["models"]} == {64}

    second = brainseg("evaluate", str(run.path))
    assert second.status == 2 and len(run.openings()) == 1
    assert opening["time"] in second.stderr and "evaluation/locked" in second.stderr
    assert "--again" in second.stderr

    for empty in ("", "  "):
        assert brainseg("evaluate", str(run.path), "--again", empty).status == 2
    assert len(run.openings()) == 1

    third = brainseg("evaluate", str(run.path), "--again", "the masks were corrected")
    assert third.status == 0, third
    assert [line["name"] for line in run.openings()] == ["locked", "locked-2"]
    assert run.openings()[1]["reason"] == "the masks were corrected"
    assert (run.evaluations / "locked" / "scores.csv").exists()
    before, after = (read_evaluation(run, name) for name in ("locked", "locked-2"))
    pd.testing.assert_frame_equal(before.scores, after.scores)


def test_the_tables_hold_every_score(run: Run) -> None:
    evaluate(run, Question(), nothing, silent)
    shown = read_evaluation(run, "locked")
    patients = read_slices(run.slices).query("part == 'test'")["patient"].unique()
    of_winner = shown.patients[shown.patients["role"] == "winner"]
    for way in ("native", "training"):
        rows = of_winner[of_winner["resolution"] == way]
        assert rows["patient"].tolist() == patients.tolist()
        scores = shown.scores.query("role == 'winner' and resolution == @way").set_index("metric")
        assert scores.loc["dice", "value"] == pytest.approx(rows["dice"].mean())
        assert scores.loc["hd95", "value"] == pytest.approx(rows["hd95"].mean())
        assert scores.loc["dice", "low"] < scores.loc["dice", "value"] < scores.loc["dice", "high"]
        assert (scores["n"] == len(patients)).all()
    metrics = {"dice", "iou", "hd95", "nsd", "lesion_sensitivity", "false_lesions", "ece"}
    assert metrics < set(shown.scores.query("role == 'winner'")["metric"])
    both = shown.scores.query("role == 'baseline' and metric == 'dice'")
    baselines = both.query("resolution == 'native'")
    assert baselines["model"].tolist()[0] == "predicts nothing"
    assert baselines["value"].tolist()[0] == 0 and len(baselines) == 2
    assert len(both) == 4, "at both resolutions"
    winner = shown.scores.query("resolution == 'native' and metric == 'dice'").iloc[0]
    assert baselines["difference"].tolist()[0] == pytest.approx(-winner["value"])
    bins = shown.reliability.query("region == 'all' and model == @shown.winner")
    pixels = len(read_slices(run.slices).query("part == 'test'")) * 48 * 48
    assert len(bins) == 10 and bins["pixels"].sum() == pixels
    assert set(shown.agreement["patients"]) == {len(patients)}
    assert any("HD95 is the diagonal" in rule for rule in shown.facts["rules"])


def test_the_reports_models_stand_beside_the_winner(run: Run) -> None:
    plain, other = flatten(SHORT), flatten(WIDE)
    arms = [{"trial": "", "baseline": False}, {"trial": "", "baseline": True}]
    confirms = {"search": "x", "name": "x", "uid": "x", "top": 1, "arms": arms}
    best = open_model(run.path).description.name
    first, second = (plain, other) if best.endswith("4") else (other, plain)
    settings(run, confirms=confirms, first=[first, second])
    name = evaluate(run, Question(), nothing, silent)
    scores = read_evaluation(run, name).scores
    roles = scores.drop_duplicates("model")[["model", "role"]].to_numpy().tolist()
    assert roles[0] == [best, "winner"] and roles[1][1] == "report"
    rows = scores.query("metric == 'dice' and resolution == 'native'")
    winner, report = rows["value"][:2]
    assert rows["difference"].iloc[1] == pytest.approx(report - winner)
    assert np.isnan(rows["difference"].iloc[0])


def test_the_winners_refit_stands_beside_it(run: Run) -> None:
    refit = Run(Path(shutil.copytree(run.path, run.path.with_name("encoders-refit"))))
    winner = open_model(run.path).description
    trial = winner.members[0].trial
    refits = {"run": str(run.path), "name": "encoders", "uid": run.settings()["uid"]}
    refits |= {"group": "encoders", "configuration": winner.name, "trial": trial, "dice": None}
    refits |= {"low": None, "high": None, "measured": "in validation", "patients": 0}
    settings(refit, refits=refits, uid="another")
    lines = [line for line in refit.changes.read_text().splitlines() if f'"{trial}"' in line]
    refit.changes.write_text("\n".join(lines) + "\n")
    shutil.rmtree(refit.path / "trials" / ("0001" if trial == "0000" else "0000"))
    evaluate(run, Question(), nothing, silent)
    models = read_evaluation(run, "locked").facts["models"]
    assert [model["role"] for model in models][:2] == ["winner", "refit"]
    assert models[1]["name"] == f"{winner.name} (refit)" and models[1]["kind"] == "refit"
    assert models[1]["threshold"] == models[0]["threshold"]
    kept, logged = refit.sweep.read_text(), list[str]()
    refit.sweep.write_text("{")
    assert refit_of(run, rank(RunSnapshot.load(run)).winner, logged.append) is None
    assert "no refit of" in logged[0] and str(refit.sweep) in logged[0]
    refit.sweep.write_text(kept)
    with pytest.raises(ValueError, match=r"opened once.*runs/encoders/evaluation/locked"):
        evaluate(refit, Question(), nothing, silent)
    evaluate(refit, Question(again="the refit alone"), nothing, silent)
    assert [m["role"] for m in read_evaluation(refit, "locked").facts["models"]] == ["winner"]


def test_an_opening_that_died_is_finished_by_the_same_command(run: Run) -> None:
    def interrupted(items: Iterable[Any], total: int | None = None) -> Iterable[Any]:
        for number, item in enumerate(items):
            if number:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, Question(), nothing, interrupted)
    assert len(run.openings()) == 1, "an opening that died is an opening"
    assert not (run.evaluations / "locked").exists(), "and it has shown nothing"
    other = brainseg("evaluate", str(run.path), "--arm", "0001")
    assert other.status == 2, "other models look again"
    assert "ended before it showed a score" in other.stderr
    assert brainseg("evaluate", str(run.path)).status == 0
    assert len(run.openings()) == 1
    assert (run.evaluations / "locked").is_dir()


def test_runs_beside_it_that_lock_the_same_patients_have_opened_them(run: Run) -> None:
    confirmation = Run(Path(shutil.copytree(run.path, run.path.with_name("encoders-confirm"))))
    evaluate(run, Question(), nothing, silent)
    with pytest.raises(ValueError, match=r"opened once.*runs/encoders/evaluation/locked"):
        evaluate(confirmation, Question(), nothing, silent)
    assert not confirmation.opened.exists()
    evaluate(confirmation, Question(again="the winner was confirmed"), nothing, silent)


def test_an_outside_data_set_has_its_own_folder(run: Run, outside: Path) -> None:
    evaluate(run, Question(), nothing, silent)
    done = brainseg("evaluate", str(run.path), "--data", str(outside))
    assert done.status == 0, done
    assert "4 patients of hospital" in done.stdout
    assert [line["name"] for line in run.openings()] == ["locked", "hospital"]
    again = brainseg("evaluate", str(run.path), "--data", str(outside))
    assert again.status == 2 and "patients of hospital are opened once" in again.stderr
    # Neither is one of them under another name.
    visitor = run.path.parent / "visitor" / "stranger"
    source = sorted(path for path in outside.iterdir() if path.is_dir())[0]
    visitor.mkdir(parents=True)
    for path in source.glob("*.tif"):
        shutil.copy(path, visitor / path.name.replace(source.name, "stranger"))
    renamed = brainseg("evaluate", str(run.path), "--data", str(visitor.parent))
    assert renamed.status == 2 and "patients of visitor are opened once" in renamed.stderr
    # Nor by a run beside it.
    sibling = Run(Path(shutil.copytree(run.path, run.path.with_name("encoders-confirm"))))
    sibling.opened.unlink()
    with pytest.raises(ValueError, match=r"hospital are opened once.*runs/encoders/evaluation"):
        evaluate(sibling, Question(data=str(outside)), nothing, silent)
    # Other patients in a folder of that name are no second opening.
    elsewhere = write_phantoms(run.path.parent / "b" / "hospital", patients=3, slices=4, size=40,
                               seed=8)  # fmt: skip
    assert evaluate(run, Question(data=str(elsewhere)), nothing, silent) == "hospital-2"
    notes = read_evaluation(run, "hospital").facts["notes"]
    assert "have names of the run's patients" in " ".join(notes), "both made up, and named alike"


def test_volumes_are_scored_in_millimetres(run: Run, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for patient in ("a", "b", "c"):
        folder = tmp_path / "clinic" / patient
        folder.mkdir(parents=True)
        affine = np.diag([0.5, 0.5, 4.0, 1.0])
        image = draw.integers(0, 900, (40, 32, 5, 3)).astype(np.int16)
        mask = np.zeros((40, 32, 5), np.uint8)
        mask[10:20, 10:20, 1:4] = 1
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / "scan.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "seg.nii.gz")
    name = evaluate(run, Question(data=str(tmp_path / "clinic")), nothing, silent)
    shown = read_evaluation(run, name)
    rows = shown.patients.query("role == 'winner' and resolution == 'native'")
    assert set(rows["length"]) == {"mm"} and set(rows["volume"]) == {"ml"}
    assert rows["true_volume"].tolist() == pytest.approx([300 * 0.5 * 0.5 * 4.0 / 1000] * 3)
    units = shown.scores.query("role == 'winner' and metric == 'hd95'")
    assert units.set_index("resolution")["unit"].to_dict()["native"] == "mm"
    assert units.set_index("resolution")["unit"].to_dict()["training"] == "pixels"
    assert set(shown.agreement["volume"]) == {"ml"}


def test_a_bad_patient_is_named_and_the_others_are_scored(
    run: Run, outside: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(outside, tmp_path / "clinic"))
    patient = sorted(path for path in folder.iterdir() if path.is_dir())[0]
    bad = next(path for path in sorted(patient.glob("*.tif")) if "mask" not in path.name)
    bad.write_bytes(bad.read_bytes()[:100])
    done = brainseg("evaluate", str(run.path), "--data", str(folder))
    assert done.status == 1 and bad.name in done.stderr
    assert "1 patient left out, whose files cannot be used" in done.stderr
    assert "3 patients of clinic" in done.stdout
    assert list(read_evaluation(run, "clinic").facts["bad"]) == [patient.name]


def resaved(source: Path, folder: Path) -> None:
    """The first patient of a folder, as PNG and under another name."""
    patient = sorted(path for path in source.iterdir() if path.is_dir())[0]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for path in sorted(patient.glob("*_mask.tif")):
        number = path.stem.removesuffix("_mask").rpartition("_")[2]
        image = cv2.imread(str(path.with_name(path.name.replace("_mask", ""))), -1)
        cv2.imwrite(str(folder / "images" / f"visitor_{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"visitor_{number}.png"), cv2.imread(str(path), -1))


def test_an_outside_data_set_must_not_hold_patients_of_the_run(
    run: Run, data: Path, tmp_path: Path
) -> None:
    resaved(data, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"no patient of the run.*visitor shows PHANTOM"):
        evaluate(run, Question(data=str(tmp_path / "copy")), nothing, silent)
    # Where the run's files are away, their recorded content tells.
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    for path in sorted(moved.iterdir())[3:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    place = run.settings()["data"] | {"root": str(tmp_path / "gone")}
    settings(run, data=place)
    with pytest.raises(ValueError, match=r"no patient of the run, in .*moved 3 patients"):
        evaluate(run, Question(data=str(moved)), nothing, silent)
    assert not run.opened.exists()


def test_without_the_runs_data_an_outside_set_can_still_be_scored(
    run: Run, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_model(run.path)  # whose threshold is chosen, and kept, while the data are there
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    settings(run, data=run.settings()["data"] | {"root": str(tmp_path / "gone")})
    name = evaluate(run, Question(data=str(outside)), nothing, silent)
    shown = read_evaluation(run, name)
    assert set(shown.scores.query("role == 'baseline'")["model"]) == {"predicts nothing"}
    assert "the run's data are away" in shown.facts["notes"][-1]


def test_locked_patients_are_not_opened_if_they_cannot_be_scored(
    run: Run, data: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    place = run.settings()["data"]
    settings(run, data=place | {"root": str(copy)})
    mask = copy / read_slices(run.slices).query("part == 'test'")["mask"].iloc[-1]
    kept = mask.read_bytes()
    mask.write_bytes(kept + b"\0")
    assert_refused(run, f"must be as they were.*{mask.name}")
    mask.unlink()
    assert_refused(run, f"{mask.name} is not .*restore it")
    mask.write_bytes(kept)
    settings(run, data=place | {"root": str(tmp_path / "gone")})
    assert_refused(run, "gone is no folder any more; mount or restore it")


def assert_refused(run: Run, match: str, **question: Any) -> None:
    with pytest.raises(ValueError, match=match):
        evaluate(run, Question(**question), nothing, silent)
    assert not run.opened.exists(), "what is refused is no opening"


def test_a_run_without_locked_patients_says_so(data: Path, run: Run) -> None:
    table = read_slices(run.slices)
    table["part"] = table["part"].replace("test", "train")
    table.to_csv(run.slices, index=False)
    assert_refused(run, "started with --test 0 and has none; name an outside data set with --data")


def test_a_locked_patient_who_trained_is_said(run: Run) -> None:
    table = read_slices(run.slices)
    table.loc[table.query("part == 'test'").index[0], "part"] = "train"
    table.to_csv(run.slices, index=False)
    done = brainseg("evaluate", str(run.path))
    assert done.status == 0 and "1 locked patient also trained" in done.stdout


def test_a_patient_without_tumour_is_counted_as_undefined(run: Run, outside: Path) -> None:
    folder = Path(shutil.copytree(outside, run.path.parent / "screening"))
    patient = sorted(path for path in folder.iterdir() if path.is_dir())[0]
    for mask in patient.glob("*_mask.tif"):
        cv2.imwrite(str(mask), 0 * cv2.imread(str(mask), -1))
    name = evaluate(run, Question(data=str(folder)), nothing, silent)
    shown = read_evaluation(run, name)
    rows = shown.scores.query("role == 'winner' and resolution == 'native'").set_index("metric")
    first = shown.patients.query("role == 'winner' and resolution == 'native'").iloc[0]
    predicts = first["tp"] + first["fp"] > 0
    assert rows.loc["hd95", "undefined"] == 1
    assert rows.loc["dice", "undefined"] == (0 if predicts else 1)
    assert first["dice"] == (0 if predicts else 1)
    assert rows.loc["tumour_slice_dice", "n"] == 3, "who has no tumour slice has no such score"


def test_a_run_that_still_trains_spends_no_opening(run: Run) -> None:
    run.note("0001", "running")
    assert_refused(run, r"must have ended before patients are opened.*1 of the 2 trials.*0001")


def test_two_at_once_are_one_opening(run: Run) -> None:
    run.evaluations.mkdir()
    with locked(run.evaluations / "lock"):
        assert_refused(run, f"is being evaluated by process {os.getpid()} on")


def test_images_with_other_channels_are_refused(run: Run, tmp_path: Path) -> None:
    grey = tmp_path / "grey"
    for kind in ("images", "masks"):
        (grey / kind).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    for number in (1, 2):
        cv2.imwrite(str(grey / "images" / f"a_{number}.png"), pixels + number)
        mask = np.zeros((40, 40), np.uint8)
        mask[4:9, 4:9] = 255
        cv2.imwrite(str(grey / "masks" / f"a_{number}.png"), mask)
    assert_refused(run, "the 3 channels that plain U-Net.*has 1; name data", data=str(grey))
    shutil.rmtree(grey / "masks")
    assert_refused(run, "root must hold slices", data=str(grey))


def test_a_patient_with_other_channels_is_found_before_the_opening(
    run: Run, data: Path, outside: Path, tmp_path: Path
) -> None:
    clinic = Path(shutil.copytree(outside, tmp_path / "clinic"))
    last = sorted(path for path in clinic.iterdir() if path.is_dir())[-1]
    in_grey(last)
    name = evaluate(run, Question(data=str(clinic)), nothing, silent)
    bad = read_evaluation(run, name).facts["bad"]
    assert list(bad) == [last.name] and "has 1; name data" in bad[last.name]
    run.opened.unlink()

    # Locked patients are refused as a whole.
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    table = read_slices(run.slices)
    in_grey(copy / table.query("part == 'test'")["image"].iloc[-1].split("/")[0])
    run.files.write_text(json.dumps(file_contents(table, copy)))
    settings(run, data=run.settings()["data"] | {"root": str(copy)})
    assert_refused(run, "the 3 channels that plain U-Net.*has 1")


def in_grey(patient: Path) -> None:
    for path in patient.glob("*.tif"):
        if "mask" not in path.name:
            cv2.imwrite(str(path), cv2.imread(str(path), -1)[..., 0])


def test_a_second_opening_is_refused_before_models_are_read(run: Run) -> None:
    evaluate(run, Question(), nothing, silent)
    for kept in run.path.glob("trials/*/*.pt"):
        kept.unlink()
    with pytest.raises(ValueError, match="opened once"):
        evaluate(run, Question(), nothing, silent)


def test_what_is_no_run_or_no_configuration_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nowhere = brainseg("evaluate", str(tmp_path / "empty"))
    assert nowhere.status == 2 and "no sweep.json" in nowhere.stderr
    unknown = brainseg("evaluate", str(run.path), "--arm", "vgg99")
    assert unknown.status == 2 and "no configuration 'vgg99'" in unknown.stderr
    label = brainseg("evaluate", str(run.path), "--label", "whole")
    assert label.status == 2 and "add --data" in label.stderr
    assert not run.opened.exists()
