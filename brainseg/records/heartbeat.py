"""A sign of life that a trial leaves in its folder while it works through an epoch."""

import time
from contextlib import suppress
from pathlib import Path

BEAT_SECONDS = 5.0  # between two signs, at least


class Heartbeat:
    """Touches a file now and then, so that an epoch of hours differs from one that hangs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beaten = -BEAT_SECONDS

    def beat(self) -> None:
        """The trial got on by a batch. A disk that refuses it will refuse what must be written."""
        now = time.monotonic()
        if now >= self._beaten + BEAT_SECONDS:
            self._beaten = now
            with suppress(OSError):
                self.path.touch()
