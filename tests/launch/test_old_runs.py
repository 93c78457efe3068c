"""A run of an earlier version still opens, shows what it found, and resumes."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from brainseg.data.phantom import write_phantoms
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.sweeps import ENCODERS, brainseg, run_script
from tests.support.written import write_json

OLD = Path(__file__).parents[1] / "support" / "old_run"
COMMAND = [
    "--data=patients",
    "--storage=runs",
    "--epochs=3",
    "--image-size=32",
    "--weights=none",
    "--encoders=resnet18,mobilenet_v2",
    "--set=model.plain.width=4",
    "--set=batch_size=4",
    "--validation=0.3",
    "--test=0",
    "--wandb=off",
    "--set=optimizer.adamw.lr=1e-3",
]


MODIFIED = 1_796_034_000  # when the patients' files were: the run's fingerprint holds it


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The old run as `runs/encoders`, beside the patients it was trained on."""
    monkeypatch.chdir(tmp_path)
    data = write_phantoms(tmp_path / "patients", patients=6, slices=6, size=48)
    for path in data.rglob("*"):
        os.utime(path, (MODIFIED, MODIFIED))
    run = Run(Path("runs/encoders"))
    shutil.copytree(OLD, run.path)
    known = read_json(run.sweep)
    assert known["data"]["root"] == "DATA", "in place of a folder of the machine it ran on"
    write_json(run.sweep, known | {"data": known["data"] | {"root": str(data.resolve())}})
    return run


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_old_run_opens_with_the_ranking_it_had(run: Run) -> None:
    before, old = contents(run.path / "trials"), pd.read_csv(run.results)
    run.results.unlink()
    done = brainseg("report", str(run.path))
    assert done.status == 0, done
    now = pd.read_csv(run.results)
    pd.testing.assert_frame_equal(now[old.columns], old, check_dtype=False)
    assert now.columns.tolist() == old.columns.tolist(), "later versions may add columns: say so"
    assert "mobilenet_v2, random weights" in done.stdout and "0.094" in done.stdout
    assert "mobilenet_v2, random weights" in run.report.read_text()
    assert contents(run.path / "trials") == before


@pytest.mark.ray
def test_an_old_run_resumes_and_trains_only_what_is_new(run: Run) -> None:
    rows = {record.trial: run.trial(record.trial).metrics.read_bytes() for record in run.trials()}
    assert len(rows) == 4
    done = run_script(ENCODERS, *COMMAND, "--trials=5")
    assert done.status == 0, done
    assert {record.trial: record.state for record in run.trials()} == dict.fromkeys(
        [*rows, "0004"], "done"
    )
    assert {trial: run.trial(trial).metrics.read_bytes() for trial in rows} == rows
    assert len(run.trial("0004").rows()) == 3
    assert read_json(run.compute)["why"].startswith("an earlier version began the run")
    assert set(pd.read_csv(run.results)["trial"]) == {0, 1, 2, 3, 4}
