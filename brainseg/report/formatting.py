"""Numbers and durations as a person reads them."""

import math


def number(value: float) -> str:
    """A score to three decimals; empty if there is none."""
    return f"{value:.3f}" if math.isfinite(value) else ""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best; empty for none."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds else ""
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
