"""What a process shares: its environment and signal handlers, restored after use; its log."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Log = Callable[[str], None]  # prints or records one message, for a person
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # those that Ray or brainseg handles


def in_main_thread() -> bool:
    """Whether this is the main thread: only there may signal handlers be set, and do they run."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def restored() -> Iterator[None]:
    """Restore the whole environment and all signal handlers at the end, whoever changed them."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
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


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does; in other threads than the main one nothing changes."""
    if not in_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
