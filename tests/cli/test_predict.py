"""`brainseg predict`: from a folder of images to a folder of masks, whatever lies among them."""

import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import find_slices, read_folder
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.evaluation.metrics import patient_table
from brainseg.inference.bundle import write_bundle
from brainseg.inference.description import Threshold
from brainseg.inference.model import Model
from tests.support.models import tiny_model
from tests.support.scans import noise, write_picture, write_volume
from tests.support.sweeps import Done, brainseg

MIDDLE = 0.52  # about half of all pixels are above it


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(
        threshold=Threshold(value=MIDDLE, chosen_on="x", patients=1, dice=0.5, dice_at_half=0.4)
    )


@pytest.fixture(scope="module")
def bundle(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_bundle(folder := tmp_path_factory.mktemp("models") / "rgb", model)
    return folder


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one channel."""
    write_bundle(folder := tmp_path_factory.mktemp("models") / "grey", tiny_model(channels=1))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=3, slices=5, size=48)


def predict(*words: object) -> Done:
    return brainseg("predict", *map(str, words))


def middle(model: Model, image: NDArray[Any]) -> float:
    """A threshold that about half of all pixels are above."""
    return float(np.median(model.probabilities(image)))


def mask_of(path: Path) -> NDArray[np.uint8]:
    """What a picture holds, 0 and 255."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None and pixels.ndim == 2 and set(np.unique(pixels)) <= {0, 255}
    return (pixels // 255).astype(np.uint8)


def facts(out: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    return held


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv")


def test_a_data_set_gets_masks_in_its_layout_and_is_scored(
    data: Path, bundle: Path, model: Model, tmp_path: Path
) -> None:
    done = predict(bundle, data, out := tmp_path / "out", "--precision", "float32")
    assert done.status == 0, done
    first, *lines = done.stdout.splitlines()
    assert first.startswith("3 cases, ") and "layout lgg; model plain U-Net (trial)" in first
    assert "threshold 0.52, float32" in first and lines[-1] == f"3 of 3 cases done; {out}"
    slices = find_slices(data)
    counts = []
    for _, rows in slices.groupby("patient", sort=False):
        masks = model.predict(np.stack([read_image(data, image) for image in rows["image"]]))
        for image, name, mask_HW in zip(rows["image"], rows["mask"], masks, strict=True):
            assert np.array_equal(mask_of(out / name), mask_HW), image
            true_HW = read_mask(data, name)
            tp = int((mask_HW & true_HW).sum())
            counts.append([tp, int(mask_HW.sum()) - tp, int(true_HW.sum()) - tp])
    scores = patient_table(np.array(counts), slices["patient"].tolist())
    written = pd.DataFrame(facts(out)["scores"])
    for name in ("patient", "tp", "fp", "fn"):
        assert written[name].tolist() == scores[name].tolist()
    assert np.allclose(written["dice"], scores["dice"], atol=1e-6)
    assert f"{scores['dice'].mean():.3f}" in done.stdout
    assert facts(out)["tumour_pixels"] == sum(tp + fp for tp, fp, _ in counts)
    assert facts(out)["thresholds"]["default"] == 0.5
    assert facts(out)["tumour_pixels_at_half"] > facts(out)["tumour_pixels"]


def test_images_and_predicted_masks_are_a_data_set(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(bundle, data, out, "--threshold", 0.6).status == 0
    shutil.copytree(data, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*_mask.tif"))
    contents = read_folder(out)
    assert contents.layout == "manifest"
    assert contents.table["tumour_pixels"].sum() == facts(out)["tumour_pixels"]
    named = ["patient", "slice", "image", "mask"]
    assert contents.table[named].equals(find_slices(data)[named])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sizes_come_back_exactly(bundle: Path, tmp_path: Path, suffix: str) -> None:
    sizes = [(1, 1), (1, 300), (257, 3), (31, 33), (64, 64), (2, 2)]
    for number, size in enumerate(sizes):
        write_picture(tmp_path / f"in/a{number}x.{suffix}", noise(*size, 3))
    done = predict(bundle, tmp_path / "in", tmp_path / "out", "--flip", "--probabilities")
    assert done.status == 0, done
    for number, size in enumerate(sizes):
        assert mask_of(tmp_path / f"out/a{number}x_mask.{suffix}").shape == size
        probabilities = tmp_path / f"out/probabilities/a{number}x_probability.{suffix}"
        pixels = cv2.imread(str(probabilities), cv2.IMREAD_UNCHANGED)
        assert pixels is not None and pixels.shape == size and pixels.dtype == np.uint16


def test_what_is_predicted_is_what_python_predicts(
    bundle: Path, model: Model, tmp_path: Path
) -> None:
    images = {"a": noise(40, 56, 3), "b": noise(40, 56, 3, dtype=np.uint16)}
    for name, image in images.items():
        write_picture(tmp_path / f"in/{name}.png", image)
    words = ("--flip", "--largest-component", "--threshold", 0.515, "--precision", "float32")
    assert predict(bundle, tmp_path / "in", tmp_path / "out", *words).status == 0
    for name, image in images.items():
        mask = model.predict(image, threshold=0.515, flip=True, largest_component=True)
        assert np.array_equal(mask_of(tmp_path / f"out/{name}_mask.png"), mask)


def test_jpeg_becomes_png_and_names_beside_each_other_stay_apart(
    bundle: Path, tmp_path: Path
) -> None:
    write_picture(tmp_path / "in/a.jpg", noise(40, 56, 3))
    write_picture(tmp_path / "in/b/a.jpeg", noise(20, 30, 3))
    done = predict(bundle, tmp_path / "in", tmp_path / "out")
    assert done.status == 0, done
    assert table(tmp_path / "out")["mask"].tolist() == ["a_mask.png", "b/a_mask.png"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_becomes_a_volume(grey: Path, tmp_path: Path, suffix: str) -> None:
    voxels = noise(5, 20, 30, dtype=np.int16)
    path = write_volume(tmp_path / f"scan{suffix}", voxels)
    median = middle(tiny_model(channels=1), voxels)
    done = predict(grey, path, out := tmp_path / "out", "--probabilities", "--threshold", median)
    assert done.status == 0, done
    image, mask = nibabel.load(path), nibabel.load(out / f"scan_mask{suffix}")
    assert mask.shape == image.shape and np.array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8
    floats = nibabel.load(out / f"probabilities/scan_probability{suffix}")
    assert floats.get_data_dtype() == np.float32
    held = np.asarray(mask.dataobj)
    assert set(np.unique(held)) == {0, 1}
    assert np.array_equal(np.asarray(floats.dataobj) > np.float32(median), held.astype(bool))
    (row,) = table(out).to_dict("records")
    assert row["tumour_pixels"] == held.sum() and row["slices"] == 5
    assert row["ml"] == pytest.approx(held.sum() * 5.0 * 0.9 * 0.8 / 1000, abs=1e-3)


def test_two_files_are_the_channels_of_one_volume(tmp_path: Path) -> None:
    model = tiny_model(channels=2, channels_named=("T1", "FLAIR"))
    write_bundle(tmp_path / "two", model)
    scans = [noise(4, 20, 30, dtype=np.int16), noise(4, 20, 30, dtype=np.int16) // 3]
    paths = [
        write_volume(tmp_path / f"{name}.nii", voxels)
        for name, voxels in zip(("z", "a"), scans, strict=True)
    ]
    both = np.stack(scans, axis=3)
    write_volume(tmp_path / "both.nii", both)
    words = "--threshold", middle(model, both)
    assert predict(tmp_path / "two", *paths, tmp_path / "one", *words).status == 0
    assert predict(tmp_path / "two", tmp_path / "both.nii", tmp_path / "other", *words).status == 0
    masks = [*tmp_path.glob("one/*.nii"), *tmp_path.glob("other/*.nii")]
    assert len(masks) == 2
    first, second = (np.asarray(nibabel.load(path).dataobj) for path in masks)
    assert np.array_equal(first, second) and first.any()


def test_bad_files_are_named_and_the_others_are_done(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("good1.png", "good2.tif", "sixteen.tif"):
        dtype = np.uint16 if name == "sixteen.tif" else np.uint8
        write_picture(folder / name, noise(40, 40, 3, dtype=dtype))
    whole = (folder / "good1.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "gif.png").write_bytes(b"GIF89a" + bytes(200))
    (folder / "text.tif").write_text("no picture")
    (folder / "noise.nii.gz").write_bytes(noise(400).tobytes())
    (folder / "scan.dcm").write_bytes(bytes(200))
    (folder / "notes.txt").write_text("fine")
    write_picture(folder / "grey.png", noise(40, 40))
    write_picture(folder / "rgba.png", noise(40, 40, 4))
    floats = noise(40, 40, 3, dtype=np.float32)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        damaged = floats.copy()
        damaged[20, 20, 1] = value
        write_picture(folder / f"{name}.tif", damaged)
    done = predict(bundle, folder, out := tmp_path / "out")
    assert done.status == 1, done
    assert sorted(table(out)["image"]) == ["good1.png", "good2.tif", "sixteen.tif"]
    sentences = {
        "cut.png": "cannot be decoded",
        "empty.png": "is empty",
        "gif.png": "is a GIF file",
        "text.tif": "is not a PNG, TIFF or JPEG file",
        "noise.nii.gz": "not a NIfTI file",
        "scan.dcm": "is .dcm; convert it",
        "grey.png": "has 1; give the channels that it was trained on",
        "rgba.png": "has 4; give the channels that it was trained on",
        "nan.tif": "holds 1 that are not",
        "inf.tif": "holds 1 that are not",
    }
    lines = done.stderr.splitlines()
    for name, words in sentences.items():
        (line,) = [line for line in lines if name in line]
        assert words in line
    assert len(lines) == len(sentences)
    assert "3 of 11 cases done, 10 failed: " in done.stdout.splitlines()[-1]
    assert "notes.txt" in done.stdout and len(facts(out)["problems"]) == 10


def test_a_palette_becomes_colours(bundle: Path, model: Model, tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(noise(40, 40, 3)).quantize(64)
    picture.save(tmp_path / "p.png")
    assert predict(bundle, tmp_path / "p.png", tmp_path / "out").status == 0
    colours = np.asarray(picture.convert("RGB"))
    assert np.array_equal(mask_of(tmp_path / "out/p_mask.png"), model.predict(colours))


def test_a_mask_that_cannot_be_scored_costs_no_prediction(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, folder := tmp_path / "in")
    masks = find_slices(folder)["mask"]
    write_picture(folder / masks[0], noise(48, 48) // 40)
    write_picture(folder / masks.iloc[-1], np.zeros((7, 7), np.uint8))
    done = predict(bundle, folder, out := tmp_path / "out")
    assert done.status == 1, done
    assert "a mask must hold 0 and 1, or 0 and 255" in done.stderr
    assert "a mask must have the size of its image" in done.stderr
    assert "3 of 3 cases done, 2 could not be scored" in done.stdout
    assert len(facts(out)["scores"]) == 1 and len(table(out)) == len(masks)


def times(out: Path) -> dict[str, int]:
    masks = [*out.rglob("*_mask.*")]
    return {path.name: path.stat().st_mtime_ns for path in masks}


def drafts(out: Path) -> list[Path]:
    """Hidden files but for the lock, which stays: who removes it opens it to a third."""
    return [path for path in out.rglob(".*") if path.name != ".lock"]


def test_what_is_there_and_whole_stays(data: Path, bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(data, folder := tmp_path / "in")
    out = tmp_path / "out"
    assert predict(bundle, folder, out).status == 0
    before, csv = times(out), (out / "predictions.csv").read_text()
    again = predict(bundle, folder, out)
    assert again.status == 0 and "3 of them were there already" in again.stdout
    assert times(out) == before and (out / "predictions.csv").read_text() == csv
    patients = find_slices(folder).groupby("patient", sort=False)["mask"].agg(list).tolist()
    (out / patients[0][1]).unlink()
    (out / patients[1][1]).write_bytes((out / patients[1][1]).read_bytes()[:-9])
    (out / f".{Path(patients[1][1]).name}.123").write_bytes(b"a killed run's draft")
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"image": "cu')
    again = predict(bundle, folder, out)
    assert again.status == 0 and "1 of them were there already" in again.stdout, again
    changed = {name for name, time in times(out).items() if time != before[name]}
    assert changed == {Path(mask).name for masks in patients[:2] for mask in masks}
    assert (out / "predictions.csv").read_text() == csv and drafts(out) == []


def test_an_image_that_changed_is_predicted_again_with_its_patient(
    data: Path, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, folder := tmp_path / "in")
    out = tmp_path / "out"
    assert predict(bundle, folder, out).status == 0
    image = find_slices(folder)["image"][2]
    write_picture(folder / image, noise(48, 48, 3))
    again = predict(bundle, folder, out)
    assert again.status == 0 and "2 of them were there already" in again.stdout
    assert predict(bundle, folder, tmp_path / "new").status == 0
    new, old = ((at / "predictions.csv").read_text() for at in (tmp_path / "new", out))
    assert new == old


def test_other_options_need_another_folder(data: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(bundle, data, out, "--overlay").status == 0
    refused = predict(bundle, data, out, "--overlay", "--flip")
    assert refused.status == 2
    assert "with other options (flip False, not True); name a new folder" in refused.stderr
    write_bundle(tmp_path / "other", tiny_model(image_size=48))
    refused = predict(tmp_path / "other", data, out, "--overlay")
    assert refused.status == 2 and "of another model (plain U-Net)" in refused.stderr
    (out / "mine.txt").write_text("keep")
    assert predict(bundle, data, out, "--flip", "--overwrite").status == 0
    assert not [*out.rglob("overlays/**/*.png")] and (out / "mine.txt").exists()
    assert facts(out)["options"]["flip"] is True


def test_a_folder_is_refused_with_a_sentence(data: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    for words, sentence in (
        ((bundle, data, tmp_path / "full"), "must have a folder of their own"),
        ((bundle, data, tmp_path / "file"), "is a file; name another"),
        ((bundle, data, tmp_path / "no/where"), "must lie in a folder that exists"),
        ((bundle, data, data / "masks"), "OUT must not lie in IN"),
        ((bundle, data, data), "OUT must not lie in IN"),
        ((bundle, tmp_path / "empty", out), "holds none"),
        ((bundle, tmp_path / "gone", out), "an input must exist"),
        ((bundle, tmp_path / "file", out), "an input must be a folder, a manifest (.csv) or"),
        ((data, data, out), "a model is a bundle"),
        ((tmp_path / "gone", data, out), "does not exist"),
        ((bundle, data, out, "--threshold", 1.5), "a threshold must lie between 0 and 1, got 1.5"),
    ):
        done = predict(*words)
        assert done.status == 2 and sentence in done.stderr, done
        assert len(done.stderr.splitlines()) == 1 and not out.exists()
    assert (tmp_path / "full/thesis.tex").read_text() == "mine"


def test_a_folder_of_masks_alone_names_each(bundle: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/a_mask.png", np.zeros((9, 9), np.uint8))
    done = predict(bundle, tmp_path / "in", tmp_path / "out")
    assert done.status == 1, done
    assert "a mask must have its image, a_mask.png has none" in done.stderr


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let writes beyond it fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_it_and_the_same_command_resumes(bundle: Path, tmp_path: Path) -> None:
    for number, side in enumerate((30, 30, 300)):
        write_picture(tmp_path / f"in/a{number}x.png", noise(side, side, 3))
    words = bundle, tmp_path / "in", tmp_path / "out", "--probabilities"
    with files_of_at_most(20_000):
        done = predict(*words)
    assert done.status == 4, done
    assert "a2x_probability.png: File too large" in done.stderr
    assert drafts(tmp_path / "out") == []
    done = predict(*words)
    assert done.status == 0 and "3 of 3 cases done, 2 of them were there already" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_of_somebody_else_is_named(bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / f"in/{name}", noise(20, 20, 3))
    (tmp_path / "in/a.png").chmod(0)
    done = predict(bundle, tmp_path / "in", tmp_path / "out")
    assert done.status == 1 and "is not readable by this user" in done.stderr
