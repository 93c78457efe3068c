"""On which device, and how, numbers are computed."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from brainseg.training.compute.plan import Compute


@dataclass(frozen=True)
class Machine:
    """A device, and how numbers are computed on it."""

    device: torch.device
    compute: Compute = field(default_factory=Compute)

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
