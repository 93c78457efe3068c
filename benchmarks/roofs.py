"""What a device reaches at best: products of matrices in each precision, and copies.

Needs torch and brainseg's own count of a network's work, see ``benchmarks.gpu``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from brainseg.models.flops import FLOAT, Work
from brainseg.training.compute.float32 import set_float32
from brainseg.training.compute.machine import Machine

MOMENTS = 2  # of each trained weight, as AdamW keeps them


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    name: str
    bytes_a_number: int  # of an activation
    tf32: bool = False
    bfloat16: bool = False
    compiled: bool = False


WAYS = (
    Way("bfloat16", 2, tf32=True, bfloat16=True),
    Way("TF32", 4, tf32=True),
    Way("float32", 4),
    Way("bfloat16, compiled", 2, tf32=True, bfloat16=True, compiled=True),
)


@dataclass(frozen=True, kw_only=True)
class Roofs:
    """What the device reaches: operations a second, and bytes a second read and written."""

    flops: dict[str, float]  # by way
    bandwidth: float


def ways_on(device: torch.device, *, compiled: bool) -> tuple[Way, ...]:
    """The ways that differ on a device: a CPU has no TF32."""
    ways = [way for way in WAYS if compiled or not way.compiled]
    return tuple(way for way in ways if device.type == "cuda" or way.name != "TF32")


def roofs(device: torch.device, ways: tuple[Way, ...], *, side: int) -> Roofs:
    """Measured on matrices of ``side`` x ``side``."""
    flops = {}
    for way in ways:
        set_way(way, device)
        dtype = torch.bfloat16 if way.bfloat16 else torch.float32
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds = _fastest(lambda a=left, b=right: a @ b, device)  # type: ignore[misc]
        flops[way.name] = 2 * side**3 / seconds
    source = torch.randn(4 * side, side, device=device)
    target = torch.empty_like(source)
    seconds = _fastest(lambda: target.copy_(source), device)
    return Roofs(flops=flops, bandwidth=2 * 4 * source.numel() / seconds)


def _fastest(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of ten calls, after three to warm up."""
    took = []
    for _ in range(13):
        before = time.perf_counter()
        call()
        Machine(device).wait()
        took.append(time.perf_counter() - before)
    return min(took[3:])


def set_way(way: Way, device: torch.device) -> None:
    """Let float32 be TF32, or not."""
    set_float32(device if way.tf32 else torch.device("cpu"))
    torch.backends.cudnn.benchmark = device.type == "cuda"


def least_bytes(cost: Work, way: Way) -> float:
    """That a step must move to and from the device's memory."""
    activations = cost.activations / FLOAT * way.bytes_a_number
    weights = cost.parameters * way.bytes_a_number
    of_optimizer = 2 + 2 * (1 + MOMENTS)  # gradient, weight and moments, each read and written
    return 2 * activations + 2 * weights + FLOAT * of_optimizer * cost.trained
