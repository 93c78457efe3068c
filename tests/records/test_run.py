"""Records are whole or absent whenever a process dies, and the latest record of a trial counts."""

import json
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from brainseg.records.files import Lines, read_json, read_lines, replacing
from brainseg.records.run import Run, TrialRecord
from brainseg.records.timing import PHASES, DeviceSeconds
from brainseg.records.trial_folder import TrialDir
from brainseg.records.trial_state import ENDED
from tests.support.written import append_line, write_json, write_text

ROWS = [{"epoch": 1, "dice": 0.25}, {"epoch": 2, "note": 'Ä "}\u2028{'}]


def row(epoch: int, dice: float, **changes: Any) -> dict[str, Any]:
    """An epoch's row, of one second on two devices."""
    return {
        "epoch": epoch,
        "dice": dice,
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
    texts_read = set()
    while writer.is_alive():
        texts_read.add(path.read_text())
    writer.join()
    assert texts_read <= set(texts)


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a pair: \ud800")
    assert path.read_text() == "old"


def test_a_file_that_is_not_written_to_its_end_leaves_the_old_one_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half of a n")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


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


def test_a_growing_file_is_read_from_where_the_last_read_ended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = Lines(path)
    assert lines.new() == []
    append_line(path, ROWS[0])
    assert lines.new() == ROWS[:1] and lines.from_start
    assert lines.new() == [] and not lines.from_start
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"epoch": 2, "di')  # cut short, or still being written
    assert lines.new() == []
    path.write_bytes(whole + b'{"epoch": 2, "dice": 0.5}')  # all of it but its end
    assert lines.new() == [{"epoch": 2, "dice": 0.5}]
    append_line(path, ROWS[1])
    assert lines.new() == ROWS[1:] and not lines.from_start


@pytest.mark.parametrize(
    "now", [[], [1], [1, 2], [1, 7, 3], [7, 2, 3], [1, 2, 3, 4], [1, 7, 3, 4], [1, 2222, 3, 4]]
)
def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path: Path, now: list[int]) -> None:
    path = tmp_path / "rows.jsonl"
    lines, rows = Lines(path), [{"epoch": n} for n in now]
    for n in (1, 2, 4):
        append_line(path, {"epoch": n})
    lines.new()
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    assert lines.new() == rows and lines.from_start
    path.unlink()
    assert lines.new() == [] and lines.from_start
    append_line(path, ROWS[0])
    assert lines.new() == ROWS[:1] and lines.from_start


# A trial's folder


DIED = "its processes died at every attempt: killed"


@pytest.mark.parametrize(
    ("files", "crash", "state", "reason"),
    [
        ({}, "", "done", ""),
        ({"stop": "behind at epoch 2"}, "", "stopped", "behind at epoch 2"),
        ({"failure": "the loss became nan"}, "", "failed", "the loss became nan"),
        ({}, "killed", "failed", "killed"),
        ({"stop": "behind"}, "killed", "failed", "killed"),
        ({"stop": "behind", "failure": "no memory"}, "", "failed", "no memory"),
        ({"failure": "no memory"}, "killed", "failed", "no memory"),
    ],
)
def test_a_folder_shows_how_its_trial_ended_and_keeps_the_score(
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


def test_device_seconds_read_step_by_step_equal_those_read_at_once(trial: TrialDir) -> None:
    meter = DeviceSeconds(trial.costs_path, trial.metrics)

    def spend(epoch: int, *, noted: bool) -> None:
        append_line(trial.metrics, row(epoch, 0.5, seconds=epoch + 0.25))
        if noted:
            cost = {"start": 0.5, "train": 1.0, "score": 0.25, "keep": 0.0}
            append_line(trial.costs_path, {"epoch": epoch, "devices": 2, **cost})

    def resume_after_first() -> None:
        write_text(trial.metrics, trial.metrics.read_text().splitlines(keepends=True)[0])

    def agree() -> float:
        whole = sum(c["devices"] * sum(c[part] for part in PHASES.values()) for c in trial.costs())
        assert meter.so_far() == trial.device_seconds() == pytest.approx(whole)
        return whole

    assert agree() == 0
    spend(1, noted=True)
    spend(2, noted=False)  # it died before its note
    assert agree() == 2 * (1.75 + 2.25)
    resume_after_first()
    spend(2, noted=True)
    assert agree() == 2 * (1.75 + 1.75)
    resume_after_first()
    spend(2, noted=True)
    spend(3, noted=True)
    assert agree() == 2 * 4 * 1.75


# A sweep's folder


def test_what_was_read_of_a_run_is_kept_and_later_changes_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number in range(3):
        run.note(f"000{number}", "running", params={"epochs": 3})
        assert run.record(f"000{number}").state == "running"
    Run(tmp_path).note("0001", "done", dice=0.5)
    assert run.record("0001") == TrialRecord("0001", "done", params={"epochs": 3}, dice=0.5)
    assert run.trials() == Run(tmp_path).trials() and run.count_ended() == 1
    assert run == Run(tmp_path)
    run.changes.unlink()
    assert run.trials() == []


def test_a_trial_is_as_its_changes_left_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.note("0001", "queued", configuration="mit_b0", params={"epochs": 3})
    run.note("0000", "running", configuration="vgg16")
    run.note("0001", "running")
    run.note("0001", "stopped", dice=0.5, epoch=2, reason="behind")
    assert run.trials() == [
        TrialRecord(
            "0001",
            "stopped",
            configuration="mit_b0",
            params={"epochs": 3},
            dice=0.5,
            epoch=2,
            reason="behind",
        ),
        TrialRecord("0000", "running", configuration="vgg16"),
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


def test_a_trial_s_configuration_is_what_its_folder_holds(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write_json(run.trial("0000").config, {"epochs": 7})
    run.note("0000", "running", params={"epochs": 9})
    run.note("0001", "running", params={"epochs": 5})  # as a run that somebody copied in part
    assert [record.params["epochs"] for record in run.trials()] == [7, 5]
