"""The whole way on made-up patients: from a search to the masks of the winner, and back again."""

from pathlib import Path

import pytest

import brainseg as package
from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_json, read_lines
from brainseg.records.run import Run
from tests.support.sweeps import Done, brainseg

TINY = (
    *("--image-size", "32", "--epochs", "2", "--concurrent", "2", "--wandb", "off"),
    *("--set", "model=plain", "--set", "model.plain.width=4", "--set", "model.plain.depth=2"),
    *("--set", "batch_size=6", "--set", "precision=float32"),
)
OFF = ("--concurrent", "2", "--wandb", "off")


def done(*words: str) -> Done:
    ended = brainseg(*words)
    assert ended.status == 0, (words, ended)
    return ended


@pytest.mark.cluster
@pytest.mark.ray
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

    shown = done("evaluate", "runs/small-confirm")
    assert "small-confirm" in shown.stdout, shown
    (opening,) = read_lines(confirmed.path / "opened.jsonl")
    assert opening
    again = brainseg("evaluate", "runs/small-confirm")
    assert again.status == 2 and "--again" in again.stderr, again

    for run, trial in (("small", "0000"), ("small-confirm", "0005")):
        same = done("reproduce", f"runs/{run}", trial)
        assert "matches to the bit" in same.stdout, same
    model = package.load("runs/small-confirm")
    assert model.description.kind == "ensemble"
    assert read_json(confirmed.sweep, kind=dict)["phase"] == "confirm"
