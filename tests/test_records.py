"""Records are whole or absent whenever a process dies, and the last word on a trial counts."""

from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from brainseg.records import (
    ENDED,
    Run,
    TrialDir,
    TrialRecord,
    append_line,
    read_json,
    read_lines,
    write_json,
    write_text,
)

ROWS = [{"epoch": 1, "dice": 0.25}, {"epoch": 2, "note": 'Ä "}\u2028{'}]


def row(epoch: int, dice: float, **changes: Any) -> dict[str, Any]:
    """An epoch's row, of one second on two devices."""
    return {
        "epoch": epoch,
        "best_dice": dice,
        "best_epoch": epoch,
        "seconds": 1.0,
        "devices": 2,
    } | changes


@pytest.fixture
def trial(tmp_path: Path) -> TrialDir:
    return Run(tmp_path).trial("0007")


# Files


def test_a_text_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on demand" / "text"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_text_or_the_new_never_a_part(tmp_path: Path) -> None:
    path, texts = tmp_path / "text", ("a" * 100_000, "b" * 100_000)
    write_text(path, texts[0])
    writer = Thread(target=lambda: [write_text(path, texts[n % 2]) for n in range(40)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a pair: \ud800")
    assert path.read_text() == "old"


def test_json_is_read_back_with_its_order(tmp_path: Path) -> None:
    value = {"z": [1, 2.5, None, True], "a": {"ü": "\n"}}
    write_json(tmp_path / "value.json", value)
    again = read_json(tmp_path / "value.json")
    assert again == value and list(again) == ["z", "a"]


def test_lines_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "rows.jsonl"
    assert read_lines(path) == []
    for line in ROWS:
        append_line(path, line)
    assert read_lines(path) == ROWS
    assert path.read_bytes().count(b"\n") == len(ROWS)


def test_a_last_line_cut_short_anywhere_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for line in ROWS:
        append_line(path, line)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert read_lines(path) == ROWS[:1]
    path.write_bytes(whole[:-1])  # all of it but its end
    assert read_lines(path) == ROWS


def test_a_line_appended_after_one_cut_short_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, ROWS[0])
    path.write_bytes(path.read_bytes() + b'{"epoch": 2, "di')
    append_line(path, ROWS[1])
    assert read_lines(path) == ROWS


# A trial's folder


def test_the_rows_after_the_checkpoint_are_forgotten(trial: TrialDir) -> None:
    for epoch in (1, 2, 3, 4):
        append_line(trial.metrics, row(epoch, 0.1 * epoch))
    trial.keep_rows(2)
    assert [kept["epoch"] for kept in trial.rows()] == [1, 2]
    append_line(trial.metrics, row(3, 0.5))
    assert [kept["epoch"] for kept in trial.rows()] == [1, 2, 3]


def test_forgetting_mends_a_line_cut_short(trial: TrialDir) -> None:
    append_line(trial.metrics, row(1, 0.1))
    trial.metrics.write_bytes(trial.metrics.read_bytes() + b'{"epoch": 2, "di')
    trial.keep_rows(1)
    append_line(trial.metrics, row(2, 0.2))
    assert [kept["epoch"] for kept in trial.rows()] == [1, 2]


def test_a_trial_that_never_began_has_no_rows_to_forget(trial: TrialDir) -> None:
    trial.keep_rows(0)
    assert trial.rows() == []


DIED = "its processes died each time they were tried: killed"


@pytest.mark.parametrize(
    ("files", "crash", "state", "reason"),
    [
        ({}, "", "done", ""),
        ({"stop": "behind at epoch 2"}, "", "stopped", "behind at epoch 2"),
        ({"failure": "the loss became nan"}, "", "failed", "the loss became nan"),
        ({}, "killed", "failed", DIED),
        ({"stop": "behind"}, "killed", "failed", DIED),
        ({"stop": "behind", "failure": "no memory"}, "", "failed", "no memory"),
        ({"failure": "no memory"}, "killed", "failed", "no memory"),
    ],
)
def test_a_folder_tells_how_its_trial_ended_and_keeps_the_score(
    trial: TrialDir, files: dict[str, str], crash: str, state: str, reason: str
) -> None:
    append_line(trial.metrics, row(1, 0.5))
    append_line(trial.metrics, row(2, 0.5, best_epoch=1, seconds=2.5))
    for name, text in files.items():
        write_text(trial.path / name, text)
    ending = trial.ending(crash)
    assert (ending.state, ending.reason) == (state, reason)
    assert (ending.dice, ending.epoch, ending.best_epoch) == (0.5, 2, 1)
    assert ending.device_seconds == 2 * (1.0 + 2.5)


def test_a_trial_without_an_epoch_has_no_score(trial: TrialDir) -> None:
    ending = trial.ending("killed")
    assert (ending.dice, ending.epoch, ending.device_seconds) == (None, 0, 0)


# A sweep's folder


def test_a_trial_is_as_its_changes_left_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.note("0001", "queued", arm="mit_b0", params={"epochs": 3})
    run.note("0000", "running", arm="vgg16")
    run.note("0001", "running")
    run.note("0001", "stopped", dice=0.5, epoch=2, reason="behind")
    assert run.trials() == [
        TrialRecord(
            "0001",
            "stopped",
            arm="mit_b0",
            params={"epochs": 3},
            dice=0.5,
            epoch=2,
            reason="behind",
        ),
        TrialRecord("0000", "running", arm="vgg16"),
    ]


def test_a_change_of_state_cut_short_leaves_the_one_before(tmp_path: Path) -> None:
    run, changes = Run(tmp_path), tmp_path / "trials.jsonl"
    run.note("0000", "running")
    run.note("0000", "done", dice=0.5)
    changes.write_bytes(changes.read_bytes()[:-9])
    assert run.trials() == [TrialRecord("0000", "running")]


def test_a_sweep_that_never_began_has_no_trials(tmp_path: Path) -> None:
    assert Run(tmp_path / "none").trials() == []


def test_a_trial_that_ended_is_no_longer_queued_or_running() -> None:
    assert set(ENDED) == {"done", "stopped", "failed"}
