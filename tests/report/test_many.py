"""A report of very many trials draws the best of them, and says so; its tables are whole."""

import re
from pathlib import Path

import pytest

from benchmarks.long_run import write_run
from brainseg.report import terminal
from brainseg.report.results import Results
from brainseg.report.sections import comparison, curves, slices
from tests.support.reports import Tags, printed, written


def test_of_a_long_list_the_best_configurations_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, limit in ((curves, "CONFIGURATIONS"), (slices, "SHOWN"), (comparison, "DRAWN")):
        monkeypatch.setattr(module, limit, 3)
    monkeypatch.setattr(terminal, "SHOWN", 3)
    run = write_run(tmp_path / "run", 40, epochs=2, configurations=4, folds=5)
    text = Tags(written(run)).text
    assert "The best 3 of 4 configurations are drawn." in text
    assert "The first 3 of 4 configurations are drawn." in text
    assert "The first 3 of 4 trials are shown" in text
    drawn = Results.load(run).ranking["trial"]
    assert all(text.count(trial) >= 1 for trial in drawn)  # in the table
    told = printed(run, width=120)
    assert "The first 3 of 40 trials; report.html has all." in told
    assert "The first 3 of 4 configurations; report.html has all." in told


def test_of_a_long_search_the_best_curves_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", 12, epochs=2)
    best, others = curves.curves_of(Results.load(run).snapshot, Results.load(run).ranking)
    assert "In grey: all others" in Tags(written(run)).text
    monkeypatch.setattr(curves, "GREY_CURVES", 2)
    page = written(run)
    assert f"In grey: the next 2 of {len(others)} others" in Tags(page).text
    assert len(re.findall(r"<title>\d{4}: ", page)) == len(best) + 2
