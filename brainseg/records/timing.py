"""Where a trial's time goes: setup, training, validation, saving."""

import time

# The phases of an epoch, and what costs.jsonl calls each.
PHASES = {"setup": "start", "train": "train", "validate": "score", "save": "keep"}


class PhaseTimer:
    """Seconds since it was created or last read, each charged to one of ``PHASES``.

    Attributes:
        spent: seconds of each phase since the last reading.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.spent = dict.fromkeys(PHASES, 0.0)

    def charge(self, phase: str) -> None:
        """Charge all the time since the last charge to ``phase``."""
        now = time.monotonic()
        self.spent[phase] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds since the last reading, under the names of costs.jsonl; starts again at zero."""
        seconds = {PHASES[phase]: value for phase, value in self.spent.items()}
        self.spent = dict.fromkeys(PHASES, 0.0)
        return seconds
