"""A run in which any file is damaged in any way is reported, or one sentence names the file."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainseg.cli.main import BAD_INPUT
from brainseg.cli.runs import existing_run
from brainseg.config.distributions import distribution
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Sweep
from brainseg.data.table import read_slices
from brainseg.launch.run_folder import locked_run
from brainseg.records.repair import repair
from brainseg.records.run import Run
from brainseg.report.results import Results, write_results
from brainseg.report.sections.slices import slices_section
from brainseg.search.budget import BudgetTracker
from brainseg.search.confirmation import confirmation
from brainseg.search.driver import SearchDriver
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from brainseg.search.warm_start import previous_trials
from tests.support.reports import printed
from tests.support.sweeps import brainseg

OLD = Path(__file__).parents[1] / "support" / "old_run"
SETTINGS = Run(OLD).settings()
SPACE = {path: distribution(text) for path, text in SETTINGS["space"].items()}
SWEEP = Sweep(
    name="encoders",
    question="?",
    space=Space(
        build(TrialConfig(), SETTINGS["base"]),
        search=tuple(SPACE),
        narrow=SPACE,
        fixed=SETTINGS["fixed"],
    ),
    first=tuple(SETTINGS["first"]),
    strategy=Bayes(trials=4, sampler="tpe"),
)
READ = sorted(
    str(path.relative_to(OLD))
    for path in OLD.rglob("*")
    if path.is_file()
    and path.parent.name in ("old_run", "0001")  # the other trials have the same files
)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def randomise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(max(8, path.stat().st_size)))


def no_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe not text \x80\n")


def other_json(path: Path) -> None:
    path.write_bytes(b"[[]]\n")


def no_keys(path: Path) -> None:
    path.write_bytes(b"{}\n")


def other_kinds(path: Path) -> None:
    """Every number is text, and every text a list, in what is JSON."""
    if "json" in path.suffix:
        text = re.sub(r": (-?[\d.e+-]+)", r': "\1"', path.read_text())
        path.write_text(re.sub(r': ("[^"]*")', r": [\1]", text))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [empty, halve, randomise, no_utf8, other_json, no_keys, other_kinds, folder, Path.unlink]


@pytest.fixture(params=DAMAGES, ids=lambda damage: damage.__name__)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Run]:
    """The old run with the file of a name damaged."""

    def copy(name: str) -> Run:
        path = tmp_path / name.replace("/", "-") / "encoders"
        shutil.copytree(OLD, path)
        request.param(path / name)
        return Run(path)

    return copy


def report(run: Run) -> None:
    """What `brainseg report` reads; its figures, which take the time, are left out."""
    results = Results.load(existing_run(run.path))
    write_results(results)
    slices_section(results.snapshot, results.ranking)
    assert printed(run)


def resume(run: Run) -> None:
    """What the driver of a sweep does with its records before the first trial trains."""
    with locked_run(run):
        repair(run)
        read_slices(run.slices)
        driver = SearchDriver(
            run,
            Study(run, SWEEP, log=lambda line: None),
            TrialScheduler(run, None),
            BudgetTracker(run, SWEEP.budget),
            num_trials=SWEEP.trials,
            slots=lambda: 1,
        )
        assert driver.is_over() and run.settings()


def confirm(run: Run) -> None:
    confirmation(existing_run(run.path))


def start_from(run: Run) -> None:
    previous_trials(run, SWEEP, SETTINGS, lambda run: "")


@pytest.mark.parametrize("act", [report, resume, confirm, start_from])
def test_whatever_is_damaged_it_works_or_one_sentence_names_the_file(
    damaged: Callable[[str], Run], act: Callable[[Run], object]
) -> None:
    for name in READ:
        run = damaged(name)
        try:
            act(run)
        except ValueError as error:
            assert str(run.path) in str(error) and Path(name).name in str(error), error
            assert "\n" not in str(error) and len(str(error)) < 500


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("sweep.json", b"", "it is empty"),
        ("sweep.json", b'{"name": "enc', "it is no JSON (Unterminated string"),
        ("trials.jsonl", b"\xff\xff\xff", "its line 1 is no JSON object"),
        ("drivers.jsonl", b"nan\n", "its line 1 is no JSON object"),
    ],
)
def test_the_command_ends_with_status_2_and_one_sentence(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    shutil.copytree(OLD, tmp_path / "encoders")
    path = tmp_path / "encoders" / name
    path.write_bytes(content)
    done = brainseg("report", str(tmp_path / "encoders"))
    assert done.status == BAD_INPUT and not done.stdout
    assert done.stderr.startswith(f"brainseg: {path} cannot be read: {fault}")
    assert done.stderr.count("\n") == 1 and "; restore it from a copy" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("patients.csv", b"", "it is empty"),
        ("metrics.jsonl", b"nan\n", "its line 1 is no JSON object"),
    ],
)
def test_a_file_of_one_trial_that_is_damaged_is_left_out_and_that_is_said(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    shutil.copytree(OLD, tmp_path / "encoders")
    damaged = tmp_path / "encoders" / "trials" / "0001" / name
    damaged.write_bytes(content)
    done = brainseg("report", str(tmp_path / "encoders"))
    assert done.status == 0, done
    assert "What it held is left out here." in " ".join(done.stdout.split())
    sentence = f"{damaged} cannot be read: {fault}; restore it from a copy"
    assert sentence in (tmp_path / "encoders" / "report.html").read_text()


def test_a_trial_that_trials_jsonl_has_lost_is_named_by_the_report_and_keeps_confirm_away(
    tmp_path: Path,
) -> None:
    shutil.copytree(OLD, tmp_path / "encoders")
    run = Run(tmp_path / "encoders")
    lines = run.changes.read_text().splitlines(keepends=True)
    run.changes.write_text("".join(line for line in lines if '"trial": "0001"' not in line))
    sentence = "Trial 0001: trials.jsonl does not list it; run the sweep's command again, which"
    assert sentence in " ".join(printed(run, 200).split())
    with pytest.raises(ValueError, match=r"trials\.jsonl cannot be read: it does not list 0001"):
        confirm(run)
    Study(run, SWEEP, log=lambda line: None)
    assert "Trial 0001:" not in printed(Run(run.path), 200)
