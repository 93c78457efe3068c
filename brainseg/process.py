"""What a process shares: environment and signal handlers, its log, what it keeps of its work."""

import hashlib
import os
import signal
import stat
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Identity = tuple[str | int, ...]
Log = Callable[[str], None]  # prints or records one message, for a person
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # each asks a process to end
SIGNALS = (*STOPS, signal.SIGUSR1)  # those that Ray or brainseg handles
INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C
STOPPING = b"\nbrainseg: stopping in good order; press Ctrl-C again to end at once\n"


def plain(text: str) -> str:
    """``text`` on one line, without what would command a terminal: a name may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def code_digest(*packages: str) -> str:
    """Names and contents of the source files of brainseg, in a dozen digits.

    Args:
        packages: that are looked at, such as "models"; none for all.
    """
    root, digest = Path(__file__).parent, hashlib.sha256()
    for folder in [root / package for package in packages] or [root]:
        for path in sorted(path for path in folder.rglob("*.py") if path.is_file()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def in_main_thread() -> bool:
    """Whether this is the main thread: only there may signal handlers be set, and do they run."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def restored() -> Iterator[None]:
    """Restore the whole environment and all signal handlers at the end, whoever changed them."""
    before = dict(os.environ)
    try:
        with handlers_kept():
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore all signal handlers at the end, also those that C code has taken away."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if in_main_thread():
            for number, handler in handlers.items():
                if handler is not None:  # set by C code: Python cannot set it again
                    signal.signal(number, handler)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass
class _Stop:
    """What this process was asked to do by signals."""

    signals: int = 0
    deferred: bool = False  # whether the first signal is only noted

    def on_signal(self, number: int, frame: Any) -> None:
        self.signals += 1
        if number == signal.SIGHUP:
            _silence_terminal()
        if self.signals > 1 and not hasattr(sys, "ps1"):  # not in a notebook, which would end too
            _end_at_once()
        if self.signals > 1 or not self.deferred:
            raise KeyboardInterrupt
        with suppress(OSError):
            os.write(2, STOPPING)  # print could not: it may be what was interrupted


_stop = _Stop()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does; a second signal ends the process at once.

    A signal that was ignored before, as by nohup, stays so. In other threads than the main one
    nothing changes.
    """
    if not in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _stop.on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if _stop.on_signal not in before.values():  # the outermost of such blocks
            _stop.signals = 0


@contextmanager
def stop_deferred() -> Iterator[Callable[[], bool]]:
    """In the block a first signal is only noted, for the block to end in good order.

    Yields whether there was one.
    """
    _stop.deferred = True
    try:
        yield lambda: _stop.signals > 0
    finally:
        _stop.deferred = False


def _end_at_once() -> NoReturn:
    """End this process and all that it started, Ray's among them; their files are whole or torn.

    A torn one has a name of its own, see ``records.files.replacing``.
    """
    import psutil  # here: a command that is not interrupted does without

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os._exit(INTERRUPTED)


def _silence_terminal() -> None:
    """The terminal was closed: a write to it would be an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(null, descriptor)
    os.close(null)


class Recent(Generic[K, V]):
    """The values of the keys that were asked for last, up to a total weight; threads share it."""

    def __init__(self, most: int, weight: Callable[[V], int] = lambda value: 1) -> None:
        self._most, self._weight = most, weight
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of ``key``, made if it is not kept."""
        if (value := self.find(key)) is None:
            value = make()
            self.keep(key, value)
        return value

    def find(self, key: K) -> V | None:
        """The value of ``key``, if it is kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: K, value: V) -> None:
        """Keep the value, and drop those asked for longest ago that leave no room for it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while self.weight > self._most:
                self._values.popitem(last=False)

    @property
    def weight(self) -> int:
        """Of all that is kept."""
        return sum(map(self._weight, self._values.values()))


def identities(paths: Sequence[Path]) -> tuple[Identity, ...]:
    """What changes whenever a file is written or replaced; of a missing file its path alone."""
    return tuple((str(path), *_stat(path)) for path in paths)


def are_settled(files: Sequence[Identity]) -> bool:
    """Whether the files are there, and their next change cannot have the time of their last.

    A file system's clock may stand still for 10 ms.
    """
    now = time.time_ns()
    return all(len(file) > 1 and now - int(file[-1]) > 1e9 for file in files)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        stat = os.stat(path)
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
