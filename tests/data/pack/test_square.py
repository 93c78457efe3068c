"""What comes back from the square of the network is within the range of what went in."""

import numpy as np
import pytest

from brainseg.data.pack.square import from_square


@pytest.mark.parametrize("side", [96, 224, 256])
def test_a_probability_of_1_stays_1_at_any_size_of_slice(side: int) -> None:
    ones = np.ones((side, side), np.float32)
    for size in range(10, 100, 3):  # 96 to 13 and 224 to 34 gave 1.0000002
        back = from_square(ones, size, size // 2)
        assert back.shape == (size, size // 2) and (back == 1).all(), size
