"""A batch: slices as the pack holds them, and which they are.

Shapes: B images, H rows, W columns, C channels, D = C + 1 (the channels of an image and, last, its
mask). A row is a position in the table that the pack was made from.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    slices_BHWD: Tensor  # uint8
    rows: Rows

    @property
    def image_BCHW(self) -> Tensor:
        """uint8, channels last in memory."""
        return self.slices_BHWD[..., :-1].permute(0, 3, 1, 2)

    @property
    def mask_BHW(self) -> Tensor:
        """uint8, 0 and 1."""
        return self.slices_BHWD[..., -1]

    def to(self, device: torch.device) -> "Batch":
        """Move images and masks to the device in one transfer."""
        return self._replace(slices_BHWD=self.slices_BHWD.to(device, non_blocking=True))
