"""A report reads each of a run's records once, and fits the model of expected Dice once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.config.distributions import Choice, LogUniform
from brainseg.records.run import Run
from tests.support.confirm_run import RESNET, VGG, add_configuration, scores
from tests.support.confirm_run import confirmation as begin_confirmation
from tests.support.small_run import begin, end, train
from tests.support.written import append_line

SPACE = {
    "model.encoder.name": str(Choice("resnet34", "vgg16")),
    "optimizer.adamw.lr": str(LogUniform(1e-4, 5e-3)),
}
COUNT = """
import json, os, sys
from collections import Counter
from pathlib import Path

from brainseg.cli.main import main
from brainseg.search.proposals import gaussian_process

folder = Path(sys.argv[1])
opened, fits, fit = Counter(), [], gaussian_process.fitted


def count_open(event, args):
    if event == "open" and isinstance(args[0], (str, os.PathLike)):
        path = Path(args[0])
        if path.is_relative_to(folder) and not (args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            opened[str(path.relative_to(folder))] += 1


def counted_fit(*args):
    fits.append(args)
    return fit(*args)


gaussian_process.fitted = counted_fit
sys.addaudithook(count_open)
main(["report", str(folder / sys.argv[2])])
print(json.dumps([opened, len(fits)]), file=sys.stderr)
"""


def reads(folder: Path, name: str) -> tuple[dict[str, int], int]:
    """How often a report opens each file below ``folder`` to read, and how many models it fits."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(folder), name], capture_output=True, text=True, check=True
    )
    opened, fits = json.loads(done.stderr.splitlines()[-1])
    return opened, fits


def search_of_20(folder: Path) -> Run:
    """Two encoders at ten rates each, three epochs a trial, with costs."""
    run = begin(
        folder, space=SPACE, strategy={"kind": "bayes"}, objectives=["dice", "device_seconds"]
    )
    for n in range(20):
        encoder, trial = ("vgg16", "resnet34")[n % 2], f"{n:04d}"
        point = {"epochs": 3, "optimizer.adamw.lr": 1e-3 + n / 1e5, "model.encoder.name": encoder}
        train(run, trial, [0.3, 0.5 + n / 100, 0.6 + n / 100], point)
        for epoch in (1, 2, 3):
            cost = {"start": 1.0, "train": 20.0, "score": 5.0, "keep": 1.0, "device": "cuda"}
            append_line(run.trial(trial).costs_path, {"epoch": epoch, "devices": 1, **cost})
        run.trial(trial).write_audit([])
        end(run, trial, "done")
    run.note_driver("ends", reason="every trial is done", whole=True)
    return run


def test_a_report_of_20_trials_opens_each_record_once_and_fits_one_model(tmp_path: Path) -> None:
    run = search_of_20(tmp_path / "encoders")
    opened, fits = reads(tmp_path, "encoders")
    assert fits == 1
    assert {path: n for path, n in opened.items() if n != 1} == {}
    names = ("metrics.jsonl", "costs.jsonl", "patients.csv", "last.csv", "audit.json")
    records = {f"encoders/trials/{n:04d}/{name}" for n in range(20) for name in names}
    records |= {f"encoders/{name}" for name in ("sweep.json", "trials.jsonl", "drivers.jsonl")}
    assert records <= opened.keys() and run.report.exists()


@pytest.mark.parametrize("folds", [0, 2])
def test_a_report_of_a_confirmation_opens_each_record_once_and_fits_one_model(
    tmp_path: Path, folds: int
) -> None:
    search = search_of_20(tmp_path / "encoders")
    named = {"search": str(search.path), "uid": "3fa9c1d2", "top": 3}
    run = begin_confirmation(tmp_path, folds=folds, confirms=named, uid="c0ffee00")
    for luck, point in enumerate((VGG, RESNET)):
        add_configuration(run, point, scores(0.8, draw=luck), folds=folds)
    opened, fits = reads(tmp_path, run.path.name)
    assert fits == 0, "a list of points has no model of expected Dice"
    assert "encoders/trials/0019/costs.jsonl" in opened, "the search's costs are in its answer's"
    assert {path: n for path, n in opened.items() if n != 1} == {}
