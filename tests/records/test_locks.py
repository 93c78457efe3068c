"""One holder at a time, named while it lives, and nothing to clean up once it is dead."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from brainseg.records.locks import Held, locked

SPAWN = multiprocessing.get_context("spawn")
PATIENCE_SECONDS = 60


def hold(path: Path, ready: Connection) -> None:
    """Take the lock, say so, and keep it until killed."""
    with locked(path):
        ready.send("held")
        signal.pause()


def test_every_refused_request_names_the_holder_of_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "new" / "lock"):
        for _ in range(3):
            with pytest.raises(Held) as held, locked(tmp_path / "new" / "lock", wait=False):
                pass
            assert held.value.holder == f"process {os.getpid()} on {socket.gethostname()}"
    with locked(tmp_path / "new" / "lock", wait=False):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    ready, sent = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=hold, args=(tmp_path / "lock", sent))
    process.start()
    assert ready.poll(PATIENCE_SECONDS) and ready.recv() == "held"
    with (
        pytest.raises(Held, match=f"process {process.pid} on "),
        locked(tmp_path / "lock", wait=False),
    ):
        pass
    process.kill()
    process.join()
    with locked(tmp_path / "lock", wait=False):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def relative(folder: Path) -> Path:
    return Path("run/lock")


def absolute(folder: Path) -> Path:
    return folder / "run" / "lock"


def in_a_linked_folder(folder: Path) -> Path:
    (folder / "link").symlink_to("run", target_is_directory=True)
    return Path("link/lock")


def itself_a_link(folder: Path) -> Path:
    (folder / "run" / "lock").symlink_to(folder / "elsewhere.lock")
    return Path("run/lock")


@pytest.mark.parametrize("form", [relative, absolute, in_a_linked_folder, itself_a_link])
def test_the_lock_of_a_killed_process_is_free_however_it_was_named_and_where_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    ready, sent = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=hold, args=(form(tmp_path), sent))
    process.start()
    assert ready.poll(PATIENCE_SECONDS) and ready.recv() == "held"
    with pytest.raises(Held), locked(Path("run/lock"), wait=False):
        pass
    process.kill()
    process.join()
    Path("run/lock").write_bytes(b"process 1 on another-host, \xff\n")
    (tmp_path / "run").rename(tmp_path / "moved")
    with locked(Path("moved/lock"), wait=False), pytest.raises(Held) as held:  # noqa: SIM117
        with locked(tmp_path / "moved" / "lock", wait=False):
            pass
    assert held.value.holder == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_waiting_process_gets_the_lock_once_it_is_free(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join(PATIENCE_SECONDS)
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError), locked(tmp_path / "file" / "lock"):
        pass
