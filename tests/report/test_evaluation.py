"""The page leads with what locked patients showed, and lists every time that they were opened."""

from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brainseg.data.phantom import write_phantoms
from brainseg.inference.evaluate.evaluate import Question, evaluate
from brainseg.inference.evaluate.results import read_evaluation
from brainseg.records.run import Run
from brainseg.report.evaluation.terminal import print_evaluation
from brainseg.report.evaluation.words import value
from tests.support.opened import locked_run
from tests.support.reports import Tags, written
from tests.support.small_run import four_trials
from tests.support.sweeps import brainseg


def silent(items: Iterable[Any], total: int | None = None) -> Iterable[Any]:
    return items


def nothing(message: str) -> None:
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("opened")
    data = write_phantoms(folder / "data", patients=10, slices=5, size=40)
    run = locked_run(data, folder / "encoders")
    evaluate(run, Question(command="brainseg evaluate first"), nothing, silent)
    evaluate(run, Question(again="the masks <were> corrected"), nothing, silent)
    return run


def test_locked_patients_that_nobody_opened_are_announced(tmp_path: Path) -> None:
    run = four_trials(tmp_path / "run")
    page = Tags(written(run))
    assert "1 patient of this run is locked, and it has not opened them" in page.text
    assert f"brainseg evaluate {run.path}" in page.text
    assert "outside-data" not in page.ids


def test_the_page_shows_scores_and_every_opening(run: Run, tmp_path: Path) -> None:
    outside = write_phantoms(tmp_path / "hospital", patients=3, slices=4, size=40, seed=5)
    evaluate(run, Question(data=str(outside)), nothing, silent)
    done = brainseg("report", str(run.path))
    assert done.status == 0, done
    page = Tags(run.report.read_text(encoding="utf-8"))
    links = [link for link in page.links if link.startswith("#")]
    assert links[:2] == ["#locked-patients", "#outside-data"], "before all else"
    shown = read_evaluation(run, "locked")
    row = shown.scores.query("metric == 'dice' and resolution == 'native'").iloc[0]
    assert page.text.count("3 locked patients, opened on") == 2
    assert f"Dice {value(row.to_dict())} (95 % interval" in page.text
    assert "Opened again because: the masks <were> corrected" in page.text
    assert "again because: the masks <were> corrected" in page.text
    assert "brainseg evaluate first" in page.text and shown.facts["models"][0]["digest"][:12]
    for words in ("bias", "upper limit", "near tumour: ECE"):
        assert words in page.text or words in run.report.read_text(encoding="utf-8"), words
    assert page.text.count("a dot a patient") == 3, "Bland and Altman's plot of each opening"
    assert "3 patients of hospital" in page.text and "predicts nothing" in page.text
    assert "HD95 is the diagonal" in page.text, "what undefined cases score"


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_has_the_same_in_its_width(run: Run, width: int) -> None:
    console = Console(file=StringIO(), width=width)
    print_evaluation(run, read_evaluation(run, run.openings()[1]["name"]), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    *lines, path = text.rstrip().splitlines()
    assert max(map(len, lines)) <= width and path.endswith("locked-2/scores.csv")
    for words in ("Undefined", "Lesions found", "Bland and", "Opened before", "predicts nothing"):
        assert words in text or words == "Undefined", words


def test_a_damaged_opening_is_named_and_the_page_is_written(run: Run) -> None:
    (run.evaluations / "locked" / "scores.csv").write_text("model\n")
    page = Tags(written(run))
    assert "locked cannot be shown" in page.text
    assert page.text.count("3 locked patients, opened on") == 1
