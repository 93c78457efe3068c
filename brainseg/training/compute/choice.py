"""How a trial computes: in the precision of its run, laid out as is fastest where it runs."""

import torch

from brainseg.training.compute.machine import Compute, Machine
from brainseg.training.distributed import Ranks
from brainseg.training.task import Task


def machine_for(task: Task, device: torch.device, ranks: Ranks) -> Machine:
    """The trial's machine, the same on every rank."""
    precision = task.config.precision
    if precision == "auto":
        precision = "bfloat16" if in_hardware(device) else "float32"
    compute = Compute(precision=precision, optimizer="fused")
    return Machine(device, ranks.broadcast(compute))


def in_hardware(device: torch.device) -> bool:
    """Whether the hardware says that it computes in bfloat16, not whether that is fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
