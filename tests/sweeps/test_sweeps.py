"""Every script in sweeps/: a page a newcomer can read, points that build, a run to its end."""

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from brainseg.config.points import too_few_trainings
from brainseg.config.schema import flatten
from brainseg.config.sweep import Bayes, Points
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.sweeps import run_script, script

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "sweeps").glob("*.py"))
LOUD = """\
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("script", sys.argv[1])
spec.loader.exec_module(module_from_spec(spec))
heavy = {"ray", "torch", "optuna", "wandb", "matplotlib"} & sys.modules.keys()
assert not heavy, heavy
"""
SMOKE_POINTS = {  # of each script, how many trials its smoke test has
    "cyclical_lr": 8,
    "encoders": 4,
    "epochs": 2,
    "freezing": 8,
    "lgg_report": 4,
    "weights": 1,
}

QUICKER = {  # of eight trials each: with a smaller encoder and smaller images
    name: ("--set=model.encoder.name=resnet18", "--image-size=32")
    for name in ("cyclical_lr", "freezing")
}

by_name = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def test_the_sweeps_of_the_plan_are_there() -> None:
    assert {path.stem for path in SCRIPTS} >= SMOKE_POINTS.keys()


@by_name
def test_importing_a_script_has_no_side_effect(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOUD, str(path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


@by_name
def test_a_script_is_a_page_with_a_whole_header(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    header = text.split('"""')[1]
    assert re.match(r".+\?\n\n", header), "the first line is a question"
    heads = re.findall(r"^([A-Z]\w+)   ", header, re.MULTILINE)
    assert heads == ["Question", "Budget", "Run", "Answer"]
    assert f"python sweeps/{path.name} " in header and f"runs/{path.stem}/" in header


@by_name
def test_name_and_budget_are_those_of_the_header(path: Path) -> None:
    sweep = script(path)
    header = path.read_text().split('"""')[1]
    assert sweep.name == path.stem and sweep.question.endswith("?")
    assert f"{sweep.trials} trials" in header


@by_name
def test_a_list_runs_a_design_that_can_be_compared_and_its_claims_judged(path: Path) -> None:
    sweep = script(path)
    if isinstance(sweep.strategy, Points):
        assert not too_few_trainings(sweep.strategy.folds, sweep.strategy.seeds)
    assert isinstance(sweep.strategy, Points) or not sweep.claims


@by_name
def test_the_first_points_can_be_reached_and_differ(path: Path) -> None:
    sweep = script(path)
    seeds = () if isinstance(sweep.strategy, Bayes) else sweep.strategy.seeds
    tried = [{**drawn, **pinned} for drawn, pinned in sweep.points()]
    assert len(tried) == len(sweep.first) * max(len(seeds), 1)
    assert len({sweep.space.config(point) for point in tried}) == len(tried)


@by_name
def test_a_hundred_random_draws_build(path: Path) -> None:
    sweep = script(path)
    seen = set()
    for seed in range(100):
        point = sweep.space.sample(Random(seed))
        config = sweep.space.config(point)
        assert point.items() <= flatten(config).items()
        seen.add(config)
    assert len(seen) > 50 if isinstance(sweep.strategy, Bayes) else len(seen) == 1


def test_the_report_is_repeated_as_it_was() -> None:
    sweep = script(ROOT / "sweeps" / "lgg_report.py")
    base = sweep.space.config({})
    assert (sweep.split.by, sweep.split.validation, sweep.split.test) == ("slices", 0.2, 0.1)
    assert flatten(base)["loss"] == "dice"
    assert (base.augment.missing, base.augment.vflip, base.augment.hflip) == (0.0, 0.0, 0.5)
    assert min(base.augment.rotate_degrees, base.augment.shift, base.augment.zoom) > 0
    budgets = {
        (sweep.space.config(p).epochs, sweep.space.config(p).batch_size) for p in sweep.first
    }
    assert len(budgets) == 1


def test_help_shows_the_question_and_how_to_begin() -> None:
    path = ROOT / "sweeps" / "lgg_report.py"
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True)
    text = " ".join(done.stdout.split())
    assert script(path).question in text
    assert "--smoke" in text and "(default: slices)" in text


@pytest.mark.ray
@by_name
def test_a_smoke_test_runs_from_the_first_point_to_the_report(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_script(path, "--smoke", "--storage=runs", *QUICKER.get(path.stem, ()))
    assert done.status == 0, done
    run = Run(tmp_path / "runs" / f"{path.stem}-smoke")
    states = [record.state for record in run.trials()]
    assert states == ["done"] * SMOKE_POINTS.get(path.stem, len(states)), [
        record.reason for record in run.trials()
    ]
    table = pd.read_csv(run.results)
    assert len(table) == len(states) and table["dice"].notna().all()
    assert "imagenet" not in " ".join(table["arm"])
    assert "Ranking" in run.report.read_text() and not list(run.path.glob("wandb*"))
    claims = read_json(run.sweep)["claims"]
    assert (run.path / "claims.csv").exists() == bool(claims)
    if claims:
        verdicts = pd.read_csv(run.path / "claims.csv").drop_duplicates("claim")
        assert verdicts["claim"].tolist() == [claim["text"] for claim in claims]
        assert verdicts["leaks"].all()
        assert "What the report concluded, tested" in run.report.read_text()
