"""What a thread writes while training goes on, it writes whole, or the training hears of it."""

import threading
from threading import Event

import pytest

from brainseg.training.keeping.writer import Writer


def test_work_is_done_while_its_owner_goes_on_and_one_thing_at_a_time() -> None:
    writer, goes_on, done = Writer(), Event(), list[int]()

    def first() -> None:
        assert goes_on.wait(10)
        done.append(1)

    writer.start(first)
    assert writer.is_busy() and not done
    goes_on.set()
    writer.start(lambda: done.append(2))  # waits for the first
    assert done[0] == 1
    writer.wait()
    assert done == [1, 2] and not writer.is_busy()


def test_what_the_work_raises_is_raised_once_wherever_its_owner_asks_next() -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "latest-0001.pt")

    for ask in (Writer.wait, Writer.is_busy, lambda writer: writer.start(lambda: None)):
        writer = Writer()
        writer.start(fail)
        writer.end()
        with pytest.raises(OSError, match="No space left on device"):
            ask(writer)
        writer.wait()


def test_its_threads_end_with_their_work() -> None:
    before, writer = threading.active_count(), Writer()
    for _ in range(3):
        writer.start(lambda: None)
    writer.end()
    assert threading.active_count() == before
