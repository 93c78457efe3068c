"""On which device, and how, numbers are computed."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from brainseg.records.run import Precision

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


@dataclass(frozen=True)
class Machine:
    """A device, and how numbers are computed on it."""

    device: torch.device
    compute: Compute = Compute()

    @property
    def memory_format(self) -> torch.memory_format:
        """In which order images and weights lie in memory."""
        return torch.channels_last if self.compute.channels_last else torch.contiguous_format

    def cast(self) -> torch.autocast:
        enabled = self.compute.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def to_device(self, tensor: Tensor) -> Tensor:
        """The same numbers on the device; the host waits for none of its work."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Wait until the GPU has finished, so that a clock measures its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
