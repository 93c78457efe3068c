"""What a folder of predictions holds once images changed, failed or are gone."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from brainseg.data.fingerprint import file_contents
from brainseg.data.formats.detect import find_slices
from brainseg.data.formats.for_model import find_images
from brainseg.data.phantom import write_phantoms
from brainseg.inference.model import Model
from brainseg.inference.predict.options import Options
from brainseg.inference.predict.record import alone_in
from brainseg.inference.predict.work import Work
from tests.support.models import tiny_model
from tests.support.scans import blob, noise, write_picture, write_volume
from tests.support.written import new_run, write_json


@pytest.fixture
def model() -> Model:
    return tiny_model()


def predicted(
    model: Model, root: Path, out: Path, *, overwrite: bool = False, **options: bool
) -> Work:
    images = find_images([root], model.channels, model.description.channels)
    work = Work(model, images, out, Options(threshold=0.5, **options), "predict")
    with alone_in(out):
        work.record.begin(work.by_case, overwrite=overwrite)
        list(work.run())
    return work


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*.png"))


def test_of_an_image_that_fails_or_is_gone_nothing_stays(model: Model, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c"):
        write_picture(root / f"{name}.png", noise(12, 16, 3))
    predicted(model, root, out, overlay=True)
    assert files(out) == ["a.png", "a_mask.png", "b.png", "b_mask.png", "c.png", "c_mask.png"]
    (root / "a.png").write_bytes(b"no picture")
    (root / "b.png").unlink()
    work = predicted(model, root, out, overlay=True)
    assert [done.case for done in work.failed] == ["a"] and work.gone == ["b"]
    assert files(out) == ["c.png", "c_mask.png"]
    assert [done.kept for done in work.done if done.case == "c"] == [True]


def test_predictions_of_other_images_are_not_replaced(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_picture(tmp_path / "one" / "a.png", noise(12, 16, 3))
    write_picture(tmp_path / "other" / "b.png", noise(12, 16, 3))
    predicted(model, tmp_path / "one", out)
    with pytest.raises(ValueError, match=r"holds predictions of other images, such as a; name"):
        predicted(model, tmp_path / "other", out)
    assert files(out) == ["a_mask.png"]
    predicted(model, tmp_path / "other", out, overwrite=True)
    assert files(out) == ["b_mask.png"]


def test_what_is_overwritten_lies_in_the_folder(model: Model, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_picture(root / "a.png", noise(12, 16, 3))
    (tmp_path / "victim").write_text("of somebody else")
    predicted(model, root, out)
    lines = out / "predictions.jsonl"
    lines.write_text(lines.read_text().replace('"a_mask.png":', '"../victim":'))
    predicted(model, root, out, overwrite=True)
    assert (tmp_path / "victim").exists()


def test_a_model_that_gives_no_numbers_writes_no_mask(model: Model, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a.png", noise(12, 16, 3))
    with torch.no_grad():
        for parameter in model.networks[0].parameters():
            parameter.fill_(torch.nan)
    work = predicted(model, tmp_path / "in", out := tmp_path / "out")
    assert "not finite" in work.failed[0].problem and files(out) == []


def test_a_spacing_that_changes_is_counted_anew(model: Model, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a_1.png", noise(12, 16, 3))
    manifest, volumes = tmp_path / "in/list.csv", []
    for spacing in ("1 x 1 x 1", "1 x 1 x 2"):
        manifest.write_text(f"image,patient,spacing\na_1.png,P1,{spacing}\n")
        volumes.append(predicted(model, manifest, tmp_path / "out").rows[0].ml)
    assert volumes[0] and volumes[1] == pytest.approx(2 * volumes[0])


def test_the_largest_component_is_of_each_volume(tmp_path: Path) -> None:
    model = tiny_model(channels=1)
    for name, rows in (("a", 12), ("b", 14)):  # which could not be stacked
        write_volume(tmp_path / f"in/{name}.nii.gz", noise(3, rows, 16))
    (tmp_path / "in/list.csv").write_text("image,patient\na.nii.gz,P1\nb.nii.gz,P1\n")
    work = predicted(model, tmp_path / "in", tmp_path / "out", largest_component=True)
    assert not work.failed and len(work.rows) == 2


def test_overlays_of_two_images_have_names_of_their_own(model: Model, tmp_path: Path) -> None:
    for suffix in ("png", "tif"):
        write_picture(tmp_path / f"in/p.{suffix}", noise(12, 16, 3))
        (tmp_path / "in/list.csv").write_text("image,patient\np.png,P1\np.tif,P2\n")
    work = predicted(model, tmp_path / "in", tmp_path / "out")
    assert not work.failed
    work = predicted(model, tmp_path / "in", tmp_path / "other", overlay=True)
    assert ["p.tif and p.png" in done.problem for done in work.failed] == [True]


def test_who_is_turned_away_lets_nobody_else_in(tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    with alone_in(out):
        for _ in range(2):  # the first must not take the lock's file away from its holder
            with pytest.raises(ValueError, match="is being written to by process"), alone_in(out):
                pass


def test_a_new_folder_that_nothing_was_written_to_goes(tmp_path: Path) -> None:
    with alone_in(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()


def test_why_a_case_is_not_scored_is_said_each_time(model: Model, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_picture(root / "a.png", noise(12, 16, 3))
    write_picture(root / "a_mask.png", blob(5, 5))
    write_picture(root / "b.png", noise(12, 16, 3))
    (root / "list.csv").write_text("image,mask,patient\na.png,a_mask.png,P1\nb.png,gone.png,P2\n")
    for _ in range(2):
        work = predicted(model, root, out)
        assert len(work.rows) == 2 and {done.case for done in work.failed} == {"P1", "P2"}


def test_locked_patients_are_predicted_and_not_scored(tmp_path: Path) -> None:
    data = write_phantoms(tmp_path / "data", patients=3, slices=3, size=32)
    run, slices = new_run(tmp_path / "run"), find_slices(data)
    locked, *others = slices["patient"].unique()
    part = slices["patient"].map({locked: "test"}).fillna("train")
    slices.assign(part=part).to_csv(run.slices, index=False)
    write_json(run.sweep, {})
    write_json(run.files, file_contents(slices, data))
    model = tiny_model()
    model.source = run.path
    shutil.copytree(data, elsewhere := tmp_path / "elsewhere" / "copy")
    work = predicted(model, elsewhere, out := tmp_path / "out", overlay=True)
    assert not work.failed and len(work.rows) == len(slices) and work.locked == [locked]
    assert set(work.scores()["patient"]) == set(others) == work.known.trained
    scored = pd.read_csv(out / "predictions.csv").set_index("patient")["dice"].notna()
    assert not scored[locked].any() and scored[others].all()
    model.source = tmp_path  # as of a bundle, which has no records
    assert len(predicted(model, elsewhere, tmp_path / "other").scores()) == 3
