"""Work that a thread does while the next epoch trains; what it raises, the training raises."""

import time
from collections.abc import Callable
from threading import Thread


class Writer:
    """Does one thing at a time, each in a thread that ends with it.

    Attributes:
        seconds: that the last thing took.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin ``work`` once what was begun before is done; raises what that raised."""
        self.wait()

        def run() -> None:
            begun = time.monotonic()
            try:
                work()
            except BaseException as error:  # raised where the trial can answer for it
                self._error = error
            self.seconds = time.monotonic() - begun

        self._thread = Thread(target=run, name="brainseg-writer")
        self._thread.start()

    def is_busy(self) -> bool:
        """Whether it is still at work; raises what the work raised."""
        if self._thread is not None and self._thread.is_alive():
            return True
        self.wait()
        return False

    def wait(self) -> None:
        """Wait until the work is done; raises what it raised, once."""
        self.end()
        if (error := self._error) is not None:
            self._error = None
            raise error

    def end(self) -> None:
        """Wait until the work is done, well or not: somebody has another error to raise."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
