"""A lock for one process at a time: it names its holder and is free once the holder dies.

Locks of others that are a file or a link, and stay when their holder dies, are removed.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

ABANDONED_SECONDS = 2.0  # locks that are a file or a link are held for milliseconds


class Held(Exception):
    """Another process holds the lock.

    Attributes:
        holder: "process 123 on HOST", or "another process" if its name is not written yet.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``, which is created if needed and never removed.

    The lock is the kernel's (flock), not the existence of the file, so a process that was killed
    leaves nothing to clean up: whatever name the file holds, also of another machine from which
    the folder was moved, the lock is free.

    Raises:
        Held: another process or thread holds it and ``wait`` is false.
        OSError: the file cannot be written, or its file system has no locks.
    """
    if path.is_symlink():  # it is opened without following links
        path = path.resolve()
    lock = FileLock(path, blocking=wait, on_acquired=_sign, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(encoding="utf-8", errors="replace").strip()
        raise Held(holder or "another process") from None
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    """Write into the lock file who holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def removed_if_abandoned(path: Path, *, seconds: float = ABANDONED_SECONDS) -> bool:
    """Remove a lock that only its holder removes, if nobody has for so long; whether it did.

    It may be a file or a link to anywhere, whoever left it: the lock itself is looked at, not what
    it points to.
    """
    before, end = _identity(path), time.monotonic() + seconds
    while before and time.monotonic() < end:
        time.sleep(0.01)
        if _identity(path) != before:
            return False
    if before:
        path.unlink(missing_ok=True)
    return bool(before)


def _identity(path: Path) -> tuple[int, ...]:
    """Of the file or link itself; () if there is none."""
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_ctime_ns
