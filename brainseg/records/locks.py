"""A lock for one process at a time: it names its holder and is free once the holder dies."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


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
    path.parent.mkdir(parents=True, exist_ok=True)
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
