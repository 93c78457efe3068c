"""The page leads with what locked patients showed, and lists every time that they were opened."""

import json
import shutil
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
from brainseg.report.evaluation.words import openings_before, value
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


def test_what_a_run_beside_it_opened_is_said(tmp_path: Path, run: Run) -> None:
    first = copied(run, tmp_path / "encoders")
    second = copied(run, tmp_path / "encoders-confirm")
    second.opened.unlink()
    shutil.rmtree(second.evaluations)
    page = Tags(written(second))
    assert "runs beside it have opened them" in page.text
    assert "as locked of encoders, a run beside this one, by `brainseg evaluate first`" in page.text
    assert "scores its model on them, once" not in page.text
    evaluate(second, Question(again="it was confirmed"), nothing, silent)
    before = openings_before(second, read_evaluation(second, "locked"))
    assert len(before) == 2 and all("of encoders, a run beside" in line for line in before)
    assert openings_before(first, read_evaluation(first, "locked")) == []
    assert "of encoders-confirm, a run beside" in Tags(written(first)).text


def copied(run: Run, path: Path) -> Run:
    """With what it opened of its locked patients alone."""
    copy = Run(Path(shutil.copytree(run.path, path)))
    lines = copy.opened.read_text().splitlines()
    copy.opened.write_text("".join(f"{line}\n" for line in lines if '"kind": "locked"' in line))
    return copy


def test_an_opening_without_the_winners_dice_does_not_end_the_page(
    tmp_path: Path, run: Run
) -> None:
    copy = copied(run, tmp_path / "run")
    facts = copy.evaluations / "locked" / "evaluation.json"
    kept = facts.read_text()
    facts.write_text(json.dumps(json.loads(kept) | {"models": []}))
    assert "it lacks a model" in Tags(written(copy)).text
    facts.write_text(kept)
    scores = facts.with_name("scores.csv")
    scores.write_text(scores.read_text().replace(",dice,", ",other,"))
    assert "it lacks the Dice of plain U-Net" in Tags(written(copy)).text


def test_names_do_not_command_the_terminal(tmp_path: Path, run: Run) -> None:
    copy = copied(run, tmp_path / "run")
    folder = copy.evaluations / "locked"
    name = read_evaluation(copy, "locked").winner
    for file in folder.iterdir():
        escape = "\x1b[31m" if file.suffix == ".csv" else "\\u001b[31m"
        file.write_text(file.read_text().replace(name, f"{escape}{name}"))
    console = Console(file=StringIO(), width=100)
    print_evaluation(copy, read_evaluation(copy, "locked"), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text and "\\x1b[31mplain" in text


def test_a_damaged_opening_is_named_and_the_page_is_written(run: Run) -> None:
    (run.evaluations / "locked" / "scores.csv").write_text("model\n")
    page = Tags(written(run))
    assert "locked cannot be shown" in page.text
    assert page.text.count("3 locked patients, opened on") == 1
