"""The whole way on made-up patients: from a search to the masks of the winner, and its record."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import brainseg as package
from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import write_phantoms
from brainseg.data.readers.images import read_image
from brainseg.records.files import read_lines
from brainseg.records.run import Run
from tests.support.sweeps import ROOT, Done

TINY = (
    *("--image-size", "32", "--epochs", "2", "--concurrent", "2", "--wandb", "off"),
    *("--set", "model=plain", "--set", "model.plain.width=4", "--set", "model.plain.depth=2"),
    *("--set", "batch_size=6", "--set", "precision=float32"),
)
OFF = ("--concurrent", "2", "--wandb", "off")


def brainseg(*words: str) -> Done:
    """The command in a process of its own, whose Ray ends with it: tests of clusters follow."""
    command = [sys.executable, "-c", "from brainseg.cli.main import main; main()", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    return Done(ended.returncode, ended.stdout, ended.stderr)


def done(*words: str) -> Done:
    ended = brainseg(*words)
    assert ended.status == 0, (words, ended)
    return ended


@pytest.mark.cluster
def test_from_a_search_to_masks_and_back_to_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_phantoms(tmp_path / "patients", patients=8, slices=5, size=48)
    done("train", "--data", str(data), "--name", "small", "--test", "0.25", *TINY)
    folds = ("--folds", "2", "--seeds", "1,2,3", "--top", "1", "--baselines", "none")
    done("confirm", "runs/small", *folds, *OFF)
    confirmed = Run(Path("runs/small-confirm"))
    assert len(confirmed.trained()) == 6

    refitted = done("refit", "runs/small-confirm", *OFF)
    assert "the model is ready" in refitted.stdout, refitted
    for run, trial in (("small", "0000"), ("small-confirm", "0005"), ("small-refit", "0000")):
        same = done("reproduce", f"runs/{run}", trial)
        assert "matches to the bit" in same.stdout, same

    assert "brainseg evaluate runs/small-confirm " in refitted.stdout, refitted
    done("evaluate", "runs/small-confirm")
    (opening,) = read_lines(Path("runs/small-confirm/opened.jsonl"))
    assert "evaluate" in opening["command"]
    assert [model["kind"] for model in opening["models"]] == ["ensemble", "refit"]
    for run in ("small-confirm", "small-refit"):
        again = brainseg("evaluate", f"runs/{run}")
        assert again.status == 2 and "--again" in again.stderr, again

    done("export", "runs/small-confirm", "my-model")
    predicted = done("predict", "my-model", str(data), "masks", "--precision", "float32")
    assert "8 of 8 cases done" in predicted.stdout, predicted
    model = package.load("my-model")
    assert model.description.kind == "refit" and (model.threshold > 0)
    table = find_slices(data)
    for patient, rows in table.groupby("patient"):
        images = np.stack([read_image(data, image) for image in rows["image"]])
        for image, mask_HW in zip(rows["image"], model.predict(images), strict=True):
            (kept,) = Path("masks").glob(f"*/{Path(image).stem}_mask.*")
            written_HW = read_image(Path("masks").resolve(), str(kept.relative_to("masks")))[..., 0]
            differing = (written_HW > 0) != (mask_HW > 0)  # roundings: other slices in a batch
            assert differing.mean() < 0.001, (patient, image)
