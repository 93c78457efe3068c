"""Where Ray's files go, and what keeps it from working there: no Ray is started."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.cluster.ray_folder import SHORT, cause_in_logs, folder_problem, ray_folder

LONG = "/tmp/" + 90 * "x"
LOOK = """
import pathlib, sys
from brainseg.cluster.ray_folder import folder_problem, shared_memory_problem
print(shared_memory_problem() or folder_problem(pathlib.Path(sys.argv[1])))
"""
MOUNT = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/tmp/ray"),
        ({"TMPDIR": "/scratch"}, "/scratch/ray"),
        ({"TMPDIR": "/scratch", "RAY_TMPDIR": "/r"}, "/r/ray"),
        ({"TMPDIR": "", "RAY_TMPDIR": ""}, "/tmp/ray"),
        ({"TMPDIR": LONG}, "/tmp/ray"),
        ({"RAY_TMPDIR": LONG}, "/tmp/ray"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="Ray heeds TMPDIR on Linux only")
def test_the_folder_is_the_one_of_ray_unless_a_socket_would_not_fit(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ray_folder() == Path(folder)


def test_a_folder_that_is_missing_is_left_to_ray_to_make(tmp_path: Path) -> None:
    assert folder_problem(tmp_path / "a" / "ray") == ""
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named_with_the_cause_and_the_remedy(
    tmp_path: Path,
) -> None:
    tmp_path.joinpath("file").touch()
    problem = folder_problem(tmp_path / "file" / "ray")
    assert problem.startswith("Ray's temporary folder must be writable")
    assert f"{tmp_path / 'file' / 'ray'}: got Not a directory" in problem
    assert problem.endswith("set RAY_TMPDIR to another folder on this machine")


@pytest.mark.skipif(
    not shutil.which("unshare") or os.geteuid() != 0, reason="a small disk needs Linux and root"
)
@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("", "with 50 MB free: {folder}: 1 MB are free; free space there, or set RAY_TMPDIR"),
        ("/dev", "Ray and torch need /dev/shm, got none that this user may write to; start the"),
    ],
    ids=["no room", "no shared memory"],
)
def test_a_machine_that_lacks_room_says_which(place: str, sentence: str, tmp_path: Path) -> None:
    folder = place or str(tmp_path)
    words = ["unshare", "-m", "bash", "-c", MOUNT, "_", folder, sys.executable, LOOK]
    done = subprocess.run(words, capture_output=True, text=True)
    assert sentence.format(folder=folder) in done.stdout, done.stderr


def test_the_cause_of_a_failed_start_is_taken_from_the_logs_of_this_process(
    tmp_path: Path,
) -> None:
    for owner, cause in ((os.getpid(), "The specified port is 7711."), (1, "of another")):
        logs = tmp_path / f"session_2026-11-30_13-48-37_800000_{owner}" / "logs"
        logs.mkdir(parents=True)
        (logs / "gcs_server.err").write_text(
            "[2026-11-30 13:48:37,900 E 13365 13365] (gcs_server) rpc.cc:1: less\n"
            "[2026-11-30 13:48:37,921 C 13365 13365] (gcs_server) grpc_server.cc:134:  An "
            f"unexpected system state has occurred. Check failed: server_ {cause}\n"
        )
    assert cause_in_logs(tmp_path) == "(gcs_server) server_ The specified port is 7711."
    assert cause_in_logs(tmp_path / "none") == ""


def test_the_short_folder_leaves_room_for_the_sockets() -> None:
    socket = "session_2026-11-30_00-00-00_000000_4194304/sockets/plasma_store.0"
    assert len(str(SHORT / socket)) < 103
