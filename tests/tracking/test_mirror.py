"""Whatever W&B does, training does not wait, and in the end W&B has each epoch once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainseg.records.run import Run
from brainseg.tracking.marks import OFFLINE, lacking, read_mark
from tests.support.mirroring import mirror, offline_records, offline_steps
from tests.support.small_run import begin, end, train
from tests.support.sweeps import ROOT
from tests.support.waiting import until
from tests.support.wandb_server import KEY, WandbServer
from tests.support.written import append_line


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return begin(tmp_path / "runs" / "encoders")


def id_of(trial: str) -> str:
    return f"3fa9c1d2-{trial}"


def add_rows(run: Run, trial: str, first: int, last: int) -> None:
    for epoch in range(first, last + 1):
        row = {"epoch": epoch, "seconds": 1.0, "dice": epoch / 100, "train_loss": 1.0}
        append_line(run.trial(trial).metrics, row)


def begin_trial(run: Run, trial: str, rows: int) -> None:
    run.note(trial, "running", configuration="plain", params={"model": "plain"})
    add_rows(run, trial, 1, rows)


def files_with(text: str, folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_each_epoch_is_there_once_under_one_id_and_nothing_is_printed(
    run: Run, server: WandbServer, capfd: pytest.CaptureFixture[str]
) -> None:
    said = list[str]()
    copy = mirror(run, said.append)
    begin_trial(run, "0000", rows=2)
    copy.follow("0000")
    until(lambda: server.runs and server.runs[id_of("0000")].steps == [1, 2])
    add_rows(run, "0000", 3, 4)
    copy.follow("0000")
    train(run, "0001", [0.5])
    end(run, "0001", "failed", "not finite")
    end(run, "0000", "done")
    for trial in ("0000", "0001"):
        copy.follow(trial)
    copy.close()
    done, failed = server.runs[id_of("0000")], server.runs[id_of("0001")]
    assert len(server.runs) == 2
    assert (done.steps, done.state, failed.steps, failed.state) == (
        *([1, 2, 3, 4], "finished"),
        *([1], "failed"),
    )
    assert done.summary["state"] == "done" and done.summary["val/dice"] == {"max": 0.04}
    assert failed.summary["reason"] == "not finite"
    assert done.about["groupName"] == "encoders" and done.about["jobType"] == "search"
    assert lacking(run, server.url) == [] and said == []
    assert capfd.readouterr() == ("", "")
    assert files_with(KEY, run.path) == []


def test_down_from_the_start_and_back_later(run: Run, server: WandbServer) -> None:
    server.down()
    said = list[str]()
    copy = mirror(run, said.append)
    begin_trial(run, "0000", rows=2)
    copy.follow("0000")
    until(lambda: said)
    add_rows(run, "0000", 3, 5)
    copy.follow("0000")
    time.sleep(1.0)
    server.up()
    until(lambda: len(said) == 2)
    end(run, "0000", "done")
    copy.follow("0000")
    copy.close()
    assert server.runs[id_of("0000")].steps == [1, 2, 3, 4, 5]
    first, then = said
    assert first.startswith("W&B is not reached (Post ") and "connection refused" in first
    assert then == "W&B works again; it gets what it missed" and KEY not in first


@pytest.mark.parametrize("fault", ["refuses connections", "answers 500", "does not answer"])
def test_down_in_the_middle_and_back(run: Run, server: WandbServer, fault: str) -> None:
    said = list[str]()
    copy = mirror(run, said.append)
    for trial in ("0000", "0001"):
        begin_trial(run, trial, rows=2)
        copy.follow(trial)
    until(lambda: [served.steps for served in server.runs.values()] == 2 * [[1, 2]])
    break_down(server, fault)
    for epoch in (3, 4):
        add_rows(run, "0000", epoch, epoch)
        begun = time.monotonic()
        copy.follow("0000")
        assert time.monotonic() - begun < 0.1, "training waits"
    end(run, "0001", "stopped", "it fell behind")
    copy.follow("0001")
    until(lambda: said)
    repair(server)
    add_rows(run, "0000", 5, 5)
    end(run, "0000", "done")
    copy.follow("0000")
    copy.close()
    first, second = server.runs[id_of("0000")], server.runs[id_of("0001")]
    assert (first.steps, first.state) == ([1, 2, 3, 4, 5], "finished")
    assert (second.steps, second.summary["state"]) == ([1, 2], "stopped")
    assert len(said) == 2 and "works again" in said[1], said
    assert lacking(run, server.url) == []


def break_down(server: WandbServer, fault: str) -> None:
    if fault == "refuses connections":
        server.down()
    elif fault == "answers 500":
        server.status = 500
    else:
        server.silent = True


def repair(server: WandbServer) -> None:
    if server.status is None and not server.silent:
        server.up()
    server.status, server.silent = None, False


def test_rows_whose_answer_was_lost_are_not_there_twice(run: Run, server: WandbServer) -> None:
    copy = mirror(run, print)
    begin_trial(run, "0000", rows=2)
    server.answers_to_lose = 3
    copy.follow("0000")
    until(lambda: not server.answers_to_lose)
    add_rows(run, "0000", 3, 3)
    end(run, "0000", "done")
    copy.follow("0000")
    copy.close()
    assert server.runs[id_of("0000")].steps == [1, 2, 3]


@pytest.mark.parametrize("fault", ["refuses connections", "does not answer"])
def test_never_up_costs_training_nothing_and_the_end_a_bounded_time(
    run: Run, server: WandbServer, fault: str
) -> None:
    break_down(server, fault)
    said = list[str]()
    copy = mirror(run, said.append)
    begin_trial(run, "0000", rows=1)
    begun = time.monotonic()
    copy.follow("0000")
    assert time.monotonic() - begun < 0.1
    until(lambda: said)
    end(run, "0000", "done")
    copy.follow("0000")
    begun = time.monotonic()
    copy.close(timeout_seconds=1.0)
    assert time.monotonic() - begun < 5.0
    assert read_mark(run.trial("0000")) is None
    assert said[1:] == [
        "W&B lacks something of 1 of 1 trials, the records do not: "
        f"`brainseg wandb sync {run.path}` uploads it"
    ]


def test_a_key_that_is_refused_is_one_line(run: Run, server: WandbServer) -> None:
    server.status = 401
    said = list[str]()
    copy = mirror(run, said.append)
    begin_trial(run, "0000", rows=1)
    copy.follow("0000")
    until(lambda: server.requests > 3)
    copy.close()
    assert said[0].startswith("W&B refuses the key (") and len(said) == 2
    assert files_with(KEY, run.path) == [] and KEY not in "".join(said)


def test_a_process_of_wandb_that_dies_is_replaced(run: Run, server: WandbServer) -> None:
    said = list[str]()
    copy = mirror(run, said.append)
    begin_trial(run, "0000", rows=2)
    copy.follow("0000")
    until(lambda: server.runs and server.runs[id_of("0000")].steps == [1, 2])
    for process in children():
        os.kill(process, signal.SIGKILL)
    add_rows(run, "0000", 3, 3)
    end(run, "0000", "done")
    copy.follow("0000")
    until(lambda: len(said) == 2)
    copy.close()
    assert "its process died" in said[0]
    assert server.runs[id_of("0000")].steps == [1, 2, 3]


def children() -> Iterator[int]:
    """This process's children that run a sender."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        command = (status.parent / "cmdline").read_bytes()
        if b"brainseg.tracking.sender" in command:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid():
                yield int(status.parent.name)


DRIVER = """
import sys, time
from pathlib import Path
from brainseg.records.run import Run
from tests.support.mirroring import mirror
from tests.tracking.test_mirror import add_rows
run, mode = Run(Path(sys.argv[1])), sys.argv[2]
copy = mirror(run, print, mode)
rows = run.trial("0000").rows()
for epoch in range(rows[-1].epoch + 1 if rows else 1, 13):
    add_rows(run, "0000", epoch, epoch)
    copy.follow("0000")
    time.sleep(0.25)
run.note("0000", "done")
copy.follow("0000")
copy.close()
"""


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_drivers_killed_at_any_moment_leave_each_epoch_once(
    run: Run, server: WandbServer, mode: str
) -> None:
    begin_trial(run, "0000", rows=0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for seconds in (1.9, 3.1, None):
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(run.path), mode], env=environment
        )
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
    assert [row.epoch for row in run.trial("0000").rows()] == list(range(1, 13))
    where = server.url if mode == "online" else OFFLINE
    assert lacking(run, where) == []
    steps = server.runs[id_of("0000")].steps if mode == "online" else offline_steps(run, "0000")
    assert steps == list(range(1, 13))
    if mode == "offline":
        assert len(offline_records(run, "0000", "exit")) >= 1 and not server.runs
