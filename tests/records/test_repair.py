"""The owner of a run puts right what a crash left: cut lines, garbage behind them, lost configs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainseg.records.checkpoint_index import sha256, write_index
from brainseg.records.files import Unreadable, read_lines
from brainseg.records.repair import end_whole, repair
from brainseg.records.run import Run
from tests.support.tables import refused
from tests.support.written import append_line, new_run, write_json, write_text

ROWS = [{"epoch": 1, "note": "ä"}, {"epoch": 2, "lost": False, "dice": 0.25}]
WHOLE = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
TAILS = {
    "a cut line": b'{"epoch": 3, "di',
    "zeros": b"\0" * 100,
    "zeros and a line break": b"\0" * 100 + b"\n",
    "a cut line and zeros": b'{"epoch": 3, "di' + b"\0" * 10,
    "no UTF-8": b'{"epoch": 3, "note": "\xff\xfe"}\n',
    "several lines of garbage": b"\x93\x01\nqwe\n\xff\n{",
    "a row that is no object": b"17\n",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two trials, of which the second never started."""
    run = new_run(tmp_path / "s")
    run.note_driver("begins")
    write_json(run.trial("0000").config, {"epochs": 3})
    run.note("0000", "running", params={"epochs": 3, "seed": 7})
    write_json(run.trial("0001").config, {"epochs": 3})
    append_line(run.trial("0000").metrics, {"epoch": 1, "dice": 0.5, "seconds": 1.0})
    append_line(run.trial("0000").starts, {"at": "now"})
    append_line(run.journal, {"op_code": 0})
    return run


def cuts(content: bytes) -> Iterator[bytes]:
    """Every start of ``content`` that holds its first line."""
    first = content.index(b"\n") + 1
    return (content[:end] for end in range(first, len(content)))


def test_a_file_cut_anywhere_ends_at_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for cut in cuts(WHOLE):
        path.write_bytes(cut)
        whole = len(ROWS) if cut + b"\n" == WHOLE else 1
        dropped = end_whole(path)
        assert read_lines(path) == ROWS[:whole] and path.read_bytes().endswith(b"}\n"), cut
        assert dropped == (0 if whole == 2 else len(cut) - WHOLE.index(b"\n") - 1)
        append_line(path, ROWS[1])
        assert read_lines(path) == [*ROWS[:whole], ROWS[1]]


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_garbage_at_the_end_is_dropped_by_the_owner_and_skipped_by_readers(
    tmp_path: Path, tail: bytes
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + tail)
    assert read_lines(path) == ROWS and path.read_bytes() == WHOLE + tail
    assert end_whole(path) == len(tail)
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("tail", [t for t in TAILS.values() if not t.endswith(b"\n")])
def test_a_line_appended_after_garbage_stands_alone(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + tail.rpartition(b"\n")[2])
    append_line(path, {"epoch": 3})
    assert path.read_bytes() == WHOLE + b'{"epoch": 3}\n'


def test_a_line_in_the_middle_that_is_no_row_is_named_and_nothing_is_dropped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.jsonl"
    for garbage in (b"\0\0\0\n", b"\xff\n", b'"text"\n', b'{"epoch": 2}}\n'):
        path.write_bytes(WHOLE + garbage + WHOLE)
        for act in (end_whole, read_lines):
            said = refused(lambda act=act: act(path))
            assert said == (
                f"{path} cannot be read: its line 3 is no JSON object; restore it from a copy, or "
                "remove that line"
            )
        assert path.read_bytes() == WHOLE + garbage + WHOLE


def test_a_file_without_any_row_is_named_unless_a_crash_cut_its_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for first in (b'{"epo', b"\0\0", b""):
        path.write_bytes(first)
        assert read_lines(path) == [] and end_whole(path) == len(first)
        assert path.read_bytes() == b""
    path.write_bytes(b"\x93\x17garbage")
    for act in (end_whole, read_lines):
        with pytest.raises(Unreadable, match="its line 1 is no JSON object"):
            act(path)


def test_all_that_a_crash_cut_in_a_run_is_said_in_one_line(run: Run) -> None:
    files = [run.journal, run.changes, run.driver_events, run.trial("0000").metrics]
    before = [path.read_bytes() for path in files]
    for length, path in enumerate(files, start=3):
        path.write_bytes(path.read_bytes() + b'{"a": 1'[:length])
    assert repair(run) == [
        f"{run.path}: dropped what a crash left of unfinished lines: 4 bytes of trials.jsonl, "
        "5 bytes of drivers.jsonl, 6 bytes of trials/0000/metrics.jsonl, 3 bytes of study.journal"
    ]
    assert [path.read_bytes() for path in files] == before
    assert repair(run) == []


@pytest.mark.parametrize(
    "content",
    [b"", b'{"epochs"', b"\xff\xfe", b"[]", b"{}", b'{"epochs": "3"}', b'{"epochs": 3, "x": 1}'],
)
def test_a_config_is_written_again_from_the_record_of_its_start(run: Run, content: bytes) -> None:
    config = run.trial("0000").config
    config.write_bytes(content)
    (said,) = repair(run)
    assert said.startswith(f"{config} could not be read (") and said.endswith("from trials.jsonl")
    assert run.trial("0000").params() == {"epochs": 3, "seed": 7}
    assert config.with_name("config.json.damaged").read_bytes() == content
    assert repair(run) == []


def test_a_damaged_config_of_a_trial_that_never_started_lets_it_be_proposed_anew(run: Run) -> None:
    config = run.trial("0001").config
    config.write_bytes(b"")
    assert repair(run) == [f"{config} could not be read (it is empty); its trial had not started"]
    assert run.trial("0001").state() == "queued"


@pytest.mark.parametrize("content", [b"", b"four", b"-1", b"\xff"])
def test_an_epoch_to_pause_after_that_is_none_is_set_aside(run: Run, content: bytes) -> None:
    (run.trial("0000").path / "until").write_bytes(content)
    (said,) = repair(run)
    assert said.endswith("; the search sets it again") and f"{run.path}/trials/0000/until" in said
    assert run.trial("0000").pause_epoch is None


def test_a_reason_that_is_no_text_still_ends_its_trial(run: Run) -> None:
    folder = run.trial("0000")
    for file, state in ((folder.stop, "stopped"), (folder.failure, "failed")):
        write_text(file, "")
        file.write_bytes(b"\xff\xff")
        ending = folder.ending()
        assert (ending.state, ending.reason) == (
            state,
            f"{file} cannot be read: its byte 1 is no UTF-8; restore it from a copy",
        )


def test_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    trial = tmp_path / "trials" / "0000"
    trial.mkdir(parents=True)
    torn, live = trial / f".best.pt.{dead.pid}", trial / f".best.pt.{os.getpid()}"
    others = [live, trial / ".hidden", trial / "metrics.jsonl"]
    for file in [torn, *others]:
        file.touch()
    repair(Run(tmp_path))
    assert not torn.exists() and live.exists() and (trial / ".hidden").exists()


def test_a_damaged_row_is_dropped_only_where_a_checkpoint_has_the_rows(run: Run) -> None:
    trial = run.trial("0000")
    with trial.metrics.open("ab") as file:
        file.write(b"garbage\n")
    append_line(trial.metrics, {"epoch": 3, "dice": 0.5, "seconds": 1.0})
    with pytest.raises(Unreadable, match="its line 2 is no JSON object"):
        repair(run)
    (trial.path / "latest-0003.pt").write_bytes(b"rows and weights")
    write_index(trial.path, {"latest-0003.pt": sha256(b"rows and weights")})
    (sentence,) = repair(run)
    assert "its line 2 is no JSON object" in sentence and "a checkpoint of the trial" in sentence
    assert [row.epoch for row in trial.rows()] == [1, 3], "what is missing, the trial writes again"
    assert repair(run) == []
