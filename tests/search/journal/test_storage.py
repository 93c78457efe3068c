"""Optuna's lock of a journal, left by a process that died, keeps no later driver waiting."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from brainseg.records.repair import repair
from brainseg.records.run import Run
from brainseg.search.journal.storage import open_journal
from brainseg.search.study import Study
from tests.support.search_driver import LISTED
from tests.support.written import new_run

HOLD = """
import os, signal, sys
from optuna.storages import journal

getattr(journal, sys.argv[2])(sys.argv[1]).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
BOUND_SECONDS = 20.0  # of which 2 are spent to see whether somebody holds the lock


def die_holding(journal: Path, lock: str = "JournalFileSymlinkLock") -> None:
    """Let a process take Optuna's lock of ``journal`` and be killed."""
    dead = subprocess.run([sys.executable, "-c", HOLD, str(journal), lock])
    assert dead.returncode == -9 and os.path.lexists(f"{journal}.lock")


def relative(folder: Path) -> Run:
    die_holding(Path("runs/s/study.journal"))
    return Run(Path("runs/s"))


def absolute(folder: Path) -> Run:
    die_holding(folder / "runs" / "s" / "study.journal")
    return Run(folder / "runs" / "s")


def through_a_link(folder: Path) -> Run:
    (folder / "link").symlink_to("runs", target_is_directory=True)
    die_holding(Path("link/s/study.journal"))
    return Run(Path("link/s"))


def moved(folder: Path) -> Run:
    die_holding(folder / "runs" / "s" / "study.journal")
    (folder / "runs").rename(folder / "elsewhere")
    (folder / "elsewhere" / "s" / "lock").write_text("process 1 on another-host\n")
    return Run(folder / "elsewhere" / "s")


def a_file(folder: Path) -> Run:
    die_holding(folder / "runs" / "s" / "study.journal", "JournalFileOpenLock")
    return Run(folder / "runs" / "s")


FORMS = [relative, absolute, through_a_link, moved, a_file]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the run `runs/s`, which has begun."""
    monkeypatch.chdir(tmp_path)
    Study(new_run(Path("runs/s")), LISTED)
    return tmp_path


@pytest.mark.timeout(60)  # Optuna's own lock would wait for ever
@pytest.mark.parametrize("form", FORMS)
def test_the_owner_removes_a_dead_process_s_lock_and_says_so(
    folder: Path, form: Callable[[Path], Run]
) -> None:
    run, began = form(folder), time.monotonic()
    lock = run.path / "study.journal.lock"
    assert repair(run) == [f"removed {lock}, the lock of a process that died"]
    assert Study(run, LISTED).ask() == "0000"
    assert time.monotonic() - began < BOUND_SECONDS and not os.path.lexists(lock)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", [relative, moved])
def test_a_driver_under_way_gets_past_the_lock_of_another_that_died(
    folder: Path, form: Callable[[Path], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = form(folder)
    began = time.monotonic()
    study = Study(run, LISTED)
    study.ask()
    assert time.monotonic() - began < BOUND_SECONDS
    assert len([m for m in caplog.messages if "study.journal.lock, the lock of" in m]) == 1


def test_a_lock_that_somebody_gives_back_is_waited_for_not_removed(folder: Path) -> None:
    journal = folder / "runs" / "s" / "study.journal"
    command = "import sys, time; from optuna.storages.journal import JournalFileSymlinkLock as L; "
    command += "lock = L(sys.argv[1]); lock.acquire(); print(1, flush=True); time.sleep(1); "
    command += "lock.release()"  # fails if somebody has removed it
    holder = subprocess.Popen(
        [sys.executable, "-c", command, str(journal)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdout.readline() == "1\n"
    Study(Run(Path("runs/s")), LISTED).ask()
    assert holder.wait() == 0


@pytest.mark.parametrize("lock", [None, JournalFileOpenLock])
def test_others_append_to_the_journal_with_optuna_s_own_locks(
    folder: Path, lock: type[JournalFileOpenLock] | None
) -> None:
    path = Path("runs/s/study.journal")
    ours = open_journal(path)
    backend = JournalFileBackend(str(path), lock and lock(str(path)))
    theirs = JournalStorage(backend)
    for storage, number in ((ours, 1), (theirs, 2), (ours, 3), (theirs, 4)):
        storage.set_study_user_attr(0, str(number), number)
    attributes = [s.get_study_user_attrs(0) for s in (ours, theirs)]
    assert attributes[0] == attributes[1] == attributes[0] | {str(n): n for n in (1, 2, 3, 4)}
    assert not os.path.lexists(f"{path}.lock")


def test_the_journal_stays_where_it_was_opened_whatever_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(Run(Path("runs/s").absolute()), LISTED)
    relative_study = open_journal(Path("runs/s/study.journal"))
    (folder / "away").mkdir()
    monkeypatch.chdir(folder / "away")
    relative_study.set_study_user_attr(0, "here", 1)
    assert study.study.user_attrs["here"] == 1 and not list((folder / "away").iterdir())
