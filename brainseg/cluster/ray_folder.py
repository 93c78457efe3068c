"""The folder in which a Ray of this machine keeps its sockets and logs, and what is wrong there."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

LONGEST = 103 if sys.platform == "darwin" else 107  # bytes of a Unix socket's path
SHORT = Path("/tmp/ray")
LEAST_FREE = 50_000_000  # bytes; a small sweep writes 2 MB of logs there, a long one ten times that


def ray_folder() -> Path:
    """As Ray chooses it, by RAY_TMPDIR or TMPDIR, unless paths of sockets would be too long."""
    of_the_system = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    folder = Path(os.environ.get("RAY_TMPDIR") or of_the_system or SHORT.parent) / "ray"
    return folder.absolute() if _fits(folder.absolute()) else SHORT


def _fits(folder: Path) -> bool:
    socket = f"session_2026-11-30_00-00-00_000000_{os.getpid()}/sockets/plasma_store.0"
    return len(os.fsencode(folder / socket)) <= LONGEST


def shorten_tmpdir() -> None:
    """Give Ray's processes a TMPDIR in which the sockets of Python's multiprocessing fit."""
    if len(os.fsencode(tempfile.gettempdir() + "/pymp-12345678/listener-12345678")) > LONGEST:
        os.environ["TMPDIR"] = str(SHORT.parent)


def shared_memory_problem() -> str:
    """Why processes cannot share memory here, as a sentence with the remedy; "" if they can."""
    if sys.platform != "linux" or os.access("/dev/shm", os.W_OK):
        return ""
    return (
        "Ray and torch need /dev/shm, got none that this user may write to; start the container "
        "with --shm-size=8g, or mount it: mount -t tmpfs shm /dev/shm"
    )


def folder_problem(folder: Path) -> str:
    """Why Ray cannot work in a folder, or make it, as a sentence with the remedy; "" if it can."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(100_000))
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        why = f"got {error.strerror}"
    else:
        why = "" if free >= LEAST_FREE else f"{free / 1e6:.0f} MB are free"
    return why and (
        f"Ray's temporary folder must be writable, with {LEAST_FREE / 1e6:.0f} MB free: {folder}: "
        f"{why}; free space there, or set RAY_TMPDIR to another folder on this machine"
    )


def cause_in_logs(folder: Path) -> str:
    """The first fatal message, else error, that a Ray begun by this process left; "" if none."""
    sessions = sorted(folder.glob(f"session_*_{os.getpid()}"))
    logs = sorted(sessions[-1].glob("logs/*.err")) if sessions else []
    text = "\n".join(log.read_text(errors="replace") for log in logs)
    for level in "CE":
        if match := re.search(rf"(?m)^\[.* {level} \d+ \d+\] (\(\w+\) )?\S+: *(.*)", text):
            return (match[1] or "") + match[2].rpartition("Check failed: ")[2]
    return ""
