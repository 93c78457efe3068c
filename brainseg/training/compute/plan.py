"""How a training step is computed. Imports no PyTorch: the doctor reads this, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from brainseg.records.run import PRECISIONS, Precision

Implementation = Literal["loop", "foreach", "fused"]  # of an optimizer, the simplest first
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How a step is computed.

    Attributes:
        precision: of the network's arithmetic; weights are always float32. It changes what is
            learned, so that all trials of a run have one. The rest changes roundings alone.
        channels_last: whether channels are next to each other in memory, or pixels.
        optimizer: how parameters are updated: one by one, in lists, or in one kernel.
    """

    precision: Precision = "float32"
    channels_last: bool = True
    optimizer: Implementation = "loop"

    def to_json(self) -> dict[str, str]:
        """As a trial records it, and as W&B shows it."""
        layout = "channels last" if self.channels_last else "contiguous"
        return {"precision": self.precision, "layout": layout, "optimizer": self.optimizer}

    @classmethod
    def from_json(cls, record: Mapping[str, str]) -> "Compute | None":
        """What a trial recorded; None where an earlier version recorded less, or a later more."""
        ways = (
            cls(precision=precision, channels_last=last, optimizer=optimizer)
            for precision, last, optimizer in product(PRECISIONS, (False, True), IMPLEMENTATIONS)
        )
        return next((way for way in ways if way.to_json().items() <= record.items()), None)
