"""The learning rate and the momentum of every optimizer step, as pure functions of its number.

No schedule has a state: whatever was asked before, a step gets the same setting, so a run that is
cut off in the middle of a cycle resumes in the middle of it. ``height`` is how near the rate is to
its peak: 0 at the floor, 1 at the peak.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import cos, pi

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import (
    Constant,
    Cosine,
    ExpRange,
    OneCycle,
    Step,
    Triangular,
    Triangular2,
)


@dataclass(frozen=True)
class Setting:
    """What the optimizer is set to for one step."""

    lr: float
    momentum: float  # of SGD; beta1 of Adam and AdamW


ScheduleFunction = Callable[[int], Setting]  # optimizer step, from 0 -> its setting


def build_schedule(
    config: hyperparameters.ScheduleConfig,
    *,
    peak: float,
    momentum: float,
    steps_per_epoch: int,
    epochs: int,
) -> ScheduleFunction:
    """The setting of each of ``steps_per_epoch * epochs`` steps.

    Args:
        peak: the highest learning rate.
        momentum: the highest momentum; it falls as the rate climbs, where ``config`` says so.
    """
    if isinstance(config, Constant):
        return lambda step: Setting(peak, momentum)
    if isinstance(config, Step):
        every = config.every_epochs * steps_per_epoch
        return lambda step: Setting(peak * config.factor ** (step // every), momentum)
    total = steps_per_epoch * epochs

    def setting(step: int) -> Setting:
        floor, height = _course(config, step, steps_per_epoch, total)
        lowered = momentum - config.momentum_drop * height
        return Setting(peak * (floor + (1 - floor) * height), max(0.0, lowered))

    return setting


def within(
    config: hyperparameters.ScheduleConfig, *, floor: float
) -> hyperparameters.ScheduleConfig:
    """A cyclical schedule with another floor, a share of the peak; any other schedule as it is."""
    if isinstance(config, Triangular | Triangular2 | ExpRange):
        return replace(config, floor=floor)
    return config


def _course(
    config: Cosine | OneCycle | Triangular | Triangular2 | ExpRange,
    step: int,
    steps_per_epoch: int,
    total: int,
) -> tuple[float, float]:
    """The floor, a share of the peak, and the height above it."""
    if isinstance(config, Cosine):
        return config.floor, cosine(step / total, warmup=config.warmup)
    if isinstance(config, OneCycle):
        top = max(0.0, config.warmup * total - 1)
        floor = config.start if step < top else config.end
        return floor, one_cycle(step, top=top, last=total - 1)
    cycles = step / (config.cycle_epochs * steps_per_epoch)
    return config.floor, _shrunk(config, cycles) * triangle(cycles)


def _shrunk(config: Triangular | Triangular2 | ExpRange, cycles: float) -> float:
    """The share of the full height that a cyclical schedule has left after so many cycles."""
    if isinstance(config, Triangular2):
        return 0.5 ** int(cycles)
    if isinstance(config, ExpRange):
        left: float = config.gamma ** (cycles * config.cycle_epochs)
        return left
    return 1.0


def cosine(progress: float, *, warmup: float) -> float:
    """Height at ``progress`` in [0, 1]: a line up, then half a cosine down.

    Source: Loshchilov and Hutter (2017), eq. 5, without restarts; Goyal et al. (2017) for warm-up.
    """
    if progress < warmup:
        return progress / warmup
    return 1 - _half_cosine((progress - warmup) / (1 - warmup))


def one_cycle(step: int, *, top: float, last: int) -> float:
    """Height at ``step``: half a cosine up to the step ``top``, and one down to the last.

    Source: Smith and Topin (2018), "Super-convergence", section 3, with cosines for lines, as
    ``torch.optim.lr_scheduler.OneCycleLR`` has it.
    """
    if step < top:
        return _half_cosine(step / top)
    return 1 - _half_cosine((step - top) / max(1.0, last - top))


def triangle(cycles: float) -> float:
    """Height after so many cycles: up for half of each, then down.

    Source: Smith (2017), "Cyclical learning rates for training neural networks", section 3.1.
    """
    return 1 - abs(2 * (cycles % 1) - 1)


def _half_cosine(progress: float) -> float:
    """From 0 to 1, level at both ends."""
    return (1 - cos(pi * progress)) / 2
