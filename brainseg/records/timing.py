"""Where a trial's time goes: to start, to train, to score, to keep what it found."""

import time

PARTS = ("start", "train", "score", "keep")


class Meter:
    """Seconds since it was made or last read, each charged to one of ``PARTS``.

    Attributes:
        spent: seconds of each part since the last reading.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.spent = dict.fromkeys(PARTS, 0.0)

    def charge(self, part: str) -> None:
        """Charge all the time since the last charge to ``part``."""
        now = time.monotonic()
        self.spent[part] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """What was charged since the last reading; the next one begins at nothing."""
        found, self.spent = self.spent, dict.fromkeys(PARTS, 0.0)
        return found
