"""A batch that does not fit in memory goes through the network in parts."""

import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
from brainseg.inference.predict.pipeline import _within_memory
from tests.support.models import tiny_model
from tests.support.scans import noise
from tests.support.short_memory import limit

model = tiny_model(image_size=512)
squares, scalings = noise(16, 512, 512, 3), np.tile(np.float32([255, 128, 64]), (16, 3, 1))
whole = model.of_squares(squares, scalings)
limit(int(sys.argv[1]))
try:
    model.of_squares(squares, scalings)
except (RuntimeError, MemoryError):
    print("the batch does not fit")
parts = _within_memory(model, squares, scalings, flip=False)
print("in parts" if np.abs(parts - whole).max() <= 1e-6 else "other numbers")
"""


def printed(megabytes: int) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, str(megabytes)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_what_fits_is_computed() -> None:
    assert printed(250) == ["the batch does not fit", "in parts"]
