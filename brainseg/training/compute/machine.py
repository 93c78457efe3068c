"""On which device, and how, numbers are computed."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Machine:
    """On which device, and in which precision, numbers are computed."""

    device: torch.device
    bfloat16: bool = False

    @classmethod
    def of(cls, device: torch.device, precision: str) -> "Machine":
        """In "float32" or "bfloat16"; "auto" is bfloat16 where the hardware computes in it."""
        return cls(
            device, _has_bfloat16(device) if precision == "auto" else precision == "bfloat16"
        )

    def cast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Wait until the GPU has finished, so that a clock measures its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
