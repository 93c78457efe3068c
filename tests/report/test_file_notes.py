"""What was found wrong with a trial's files stands in the report, and a hole in it is said."""

from pathlib import Path

import pytest

from brainseg.records.files import Unreadable, read_json, write_json
from tests.support.reports import printed, written
from tests.support.small_run import begin, four_trials, train


def test_notes_of_trials_and_missing_tables_are_in_the_terminal_and_on_the_page(
    tmp_path: Path,
) -> None:
    run = four_trials(tmp_path / "run")
    assert "Trial 000" not in printed(run)
    run.trial("0000").note(4, "latest-0005.pt is damaged; resumes after epoch 4")
    run.trial("0001").patients.unlink()
    run.trial("0003").patients.unlink()
    run.trial("0003").panels.unlink()
    run.trial("0002").metrics.unlink()
    rows = run.trial("0001").metrics.read_text().splitlines(keepends=True)
    run.trial("0001").metrics.write_text(rows[0] + rows[2])
    for text in (" ".join(printed(run, 300).split()), written(run)):
        assert "Trial 0000: latest-0005.pt is damaged; resumes after epoch 4." in text
        assert "Trial 0001: patients.csv cannot be shown: missing." in text
        assert "Trial 0001: metrics.jsonl holds 2 of its 3 epochs: a gap in its curve." in text
        assert "Trial 0002: metrics.jsonl holds 0 of its 1 epochs" in text
        assert "Trial 0003: patients.csv and panels.npz cannot be shown: missing." in text
    assert " 0001 " in printed(run), "its score is there, from its rows"


def test_a_trial_whose_rows_are_lost_is_left_out_of_the_pareto_front_and_refused_by_name(
    tmp_path: Path,
) -> None:
    run = four_trials(tmp_path / "run")
    write_json(run.sweep, read_json(run.sweep) | {"objectives": ["dice", "device_seconds"]})
    run.trial("0001").metrics.unlink()
    assert "Trial 0001: metrics.jsonl holds 0 of its 3 epochs" in printed(run, 200)
    with pytest.raises(Unreadable, match=r"metrics\.jsonl cannot be read: no epoch is left in it"):
        run.trial("0001").objective_values(["dice"])


def test_what_many_trials_lack_is_said_once(tmp_path: Path) -> None:
    run = begin(tmp_path / "run")
    for n in range(7):
        train(run, f"{n:04d}", [0.5])
        run.trial(f"{n:04d}").panels.unlink()
    text = printed(run, 200)
    assert "Trials 0000, 0001, 0002, 0003, 0004, 0005, and 1 more: panels.npz" in text
    assert text.count("panels.npz") == 1
