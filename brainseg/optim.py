"""Config to optimizer, and the learning rate of every step as a pure function."""

from collections.abc import Callable
from math import cos, pi

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim import AdamW as TorchAdamW

from brainseg.config import AdamW, Constant, Cosine, Sgd, Triangular

Schedule = Callable[[int], float]  # optimizer step, from 0 -> learning rate


def build_optimizer(network: nn.Module, config: AdamW | Sgd) -> Optimizer:
    """An optimizer over the parameters that are trained; biases and norms are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if isinstance(config, Sgd):
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    return TorchAdamW(groups, lr=config.lr)


def build_schedule(
    config: Cosine | Triangular | Constant, *, peak: float, total_steps: int
) -> Schedule:
    """The learning rate at each of ``total_steps`` optimizer steps; ``peak`` is the highest."""
    if isinstance(config, Cosine):
        return lambda step: (
            peak * cosine(step / total_steps, warmup=config.warmup, floor=config.floor)
        )
    if isinstance(config, Triangular):
        return lambda step: (
            peak * triangular(step / total_steps * config.cycles % 1, floor=config.floor)
        )
    return lambda step: peak


def cosine(progress: float, *, warmup: float, floor: float) -> float:
    """Share of the peak at ``progress`` in [0, 1]: a line up, then half a cosine down.

    Source: Loshchilov and Hutter (2017), eq. 5, without restarts; Goyal et al. (2017) for warm-up.
    """
    if progress < warmup:
        return floor + (1 - floor) * progress / warmup
    down = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * (1 + cos(pi * down)) / 2


def triangular(progress: float, *, floor: float) -> float:
    """Share of the peak at ``progress`` in [0, 1) of one cycle: up for half of it, then down.

    Source: Smith (2017), "Cyclical learning rates for training neural networks", section 3.1.
    """
    return floor + (1 - floor) * (1 - abs(2 * progress - 1))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
