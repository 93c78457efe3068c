"""One process at a time: a lock that names its holder, and is free at once when the holder dies."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Held(Exception):
    """Another process holds the lock.

    Attributes:
        holder: as "process 123 on HOST"; "another process" where it has not signed yet.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by {holder}")
        self.holder = holder


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``, made with its folder where it is missing; it stays there.

    The kernel locks the file (flock), not its existence, so nothing is left to clean up after a
    process that was killed.

    Raises:
        Held: another process or thread holds it and ``wait`` is false.
        OSError: the file cannot be written, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=wait, on_acquired=_sign)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(encoding="utf-8").strip()
        raise Held(holder or "another process") from None
    try:
        yield
    finally:
        lock.release()


def _sign(descriptor: int) -> None:
    """Write into the lock file who holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
