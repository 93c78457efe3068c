"""What a process shares: its environment and signal handlers, restored after use; its log."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

Log = Callable[[str], None]  # prints or records one message, for a person
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # each asks a process to end
SIGNALS = (*STOPS, signal.SIGUSR1)  # those that Ray or brainseg handles
INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C
STOPPING = b"\nbrainseg: stopping in good order; press Ctrl-C again to end at once\n"


def plain(text: str) -> str:
    """``text`` on one line, without what would command a terminal: a name may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


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
