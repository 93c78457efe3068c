"""Where a node keeps packed slices and copied files."""

import os
from pathlib import Path


def default_cache() -> Path:
    """$BRAINSEG_CACHE, else brainseg in the user's cache folder."""
    if chosen := os.environ.get("BRAINSEG_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brainseg"
