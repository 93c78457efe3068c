"""How long a training step takes here, in each of the ways to compute it.

Steps are those of ``loop.train_steps`` on random images with the trial's network from random
weights. The candidates take turns, so that whatever else keeps the machine busy slows all of them,
and the shortest time of each counts: what disturbs a step only ever lengthens it.

Shapes: B images, C channels, H rows, W columns, D = C + 1.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from brainseg.config.hyperparameters import Encoder, Sgd, TrialConfig
from brainseg.data.pipeline.batch import Batch
from brainseg.models.encoders import fixed_size
from brainseg.models.network import Network, build_network
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import IMPLEMENTATIONS, Implementation
from brainseg.training.compute.rules import STEPS
from brainseg.training.guards import memory
from brainseg.training.loop import train_steps
from brainseg.training.losses import alone, build_loss
from brainseg.training.optim import build_optimizer
from brainseg.training.schedules import Setting

SECONDS = 1.0  # of timed rounds, after which no further one begins
MOST = 6  # rounds after the first, which compiles
UPDATES = 2  # turns of each optimizer, and updates of a turn
TURN_SECONDS, TURN_STEPS = 0.02, 5  # a turn is so long, or takes so many steps
STEP_SECONDS = 0.6  # about so long is a step on a CPU: of few images, or of more
FEW, MANY = 2, 16  # images; one alone does not train every network
LARGEST = 192  # pixels a side on a CPU: at larger ones candidates compare alike
HOPELESS = 3.0  # times as long as another in the first timed round: not timed again
FAINT = 1e-9  # learning rate
STATELESS = Sgd(lr=FAINT, momentum=0.0, weight_decay=0.0)  # whose moments need no layout


@dataclass
class Measured:
    """Seconds of each candidate, and why the others have none."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    shortage: bool = False  # of memory: another time the answer may be another


def measure_steps(config: TrialConfig, device: torch.device) -> Measured:
    """Seconds of a step without its optimizer's moments, by candidate of ``rules.STEPS``."""
    measured = Measured()
    with memory_given_back(measured, device):
        _measure_steps(config, device, measured)
    return measured


def measure_updates(config: TrialConfig, device: torch.device) -> Measured:
    """Seconds of an optimizer's update, by implementation."""
    measured = Measured()
    with memory_given_back(measured, device):
        _measure_updates(config, device, measured)
    return measured


@contextmanager
def memory_given_back(measured: Measured, device: torch.device) -> Iterator[None]:
    """Note a failure outside any candidate; leave no memory taken, and no peak, behind."""
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:  # the trial will say so itself
        _note_failure("the network", error, measured)
    finally:
        memory.free()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)


def _measure_steps(config: TrialConfig, device: torch.device, measured: Measured) -> None:
    network = network_of(config, device)

    def steps_of(images: int) -> dict[str, _Step]:
        batch = batch_of(config, device, images)
        machines = {name: Machine(device, compute) for name, compute in STEPS.items()}
        return {name: _Step(network, batch, config, here) for name, here in machines.items()}

    images = max(FEW, config.batch_size)
    if device.type == "cpu":
        trial_step = next(iter(steps_of(FEW).values()))
        trial_step.lay_out()
        trial_step()
        took = seconds(trial_step, device)
        images = min(images, MANY, max(FEW, int(FEW * STEP_SECONDS / took)))
    take_turns(steps_of(images), measured, device)


def _measure_updates(config: TrialConfig, device: torch.device, measured: Measured) -> None:
    network = network_of(config, device)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    for _ in range(UPDATES):  # one optimizer at a time: each has moments of its own
        for name in IMPLEMENTATIONS:
            _time_updates(network, config, name, measured, device)


def _time_updates(
    network: Network,
    config: TrialConfig,
    name: Implementation,
    measured: Measured,
    device: torch.device,
) -> None:
    try:
        optimizer = build_optimizer(network, config.optimizer, implementation=name)
        optimizer.step()  # makes the moments
        took = min(seconds(optimizer.step, device) for _ in range(UPDATES))
        measured.seconds[name] = min(took, measured.seconds.get(name, took))
    except (RuntimeError, MemoryError) as error:
        _note_failure(name, error, measured)


class Timed(Protocol):
    """What is timed: a way to compute, for which the network must be laid out first."""

    def lay_out(self) -> None: ...

    def __call__(self) -> None: ...


class _Step:
    """A training step in one way; the network must be laid out for it."""

    def __init__(
        self, network: Network, batch: Batch, config: TrialConfig, machine: Machine
    ) -> None:
        images, device = len(batch.rows), machine.device
        self.network, self.machine, self.batch = network, machine, batch
        self.optimizer = build_optimizer(network, STATELESS, implementation="foreach")
        self.loss, self.clip_norm = build_loss(config.loss), config.clip_norm
        scaling_3 = torch.tensor([255.0, 128.0, 64.0], device=device)
        self.scaling_NC3 = scaling_3.expand(images, config.channels, 3)
        self.shown_NC = torch.arange(config.channels, device=device).expand(images, -1)

    def lay_out(self) -> None:
        self.network.lay_out(self.machine.memory_format)

    def __call__(self) -> None:
        losses = train_steps(
            self.network,
            [self.batch],
            self.loss,
            self.optimizer,
            lambda _: Setting(lr=FAINT, momentum=0.0),
            self.machine,
            scaling_NC3=self.scaling_NC3,
            shown_NC=self.shown_NC,
            first_step=0,
            clip_norm=self.clip_norm,
            images_at_once=len(self.batch.rows),
        )
        with alone():  # rank 0 measures for all, which wait for what it says
            deque(losses, maxlen=0)


def take_turns(steps: Mapping[str, Timed], measured: Measured, device: torch.device) -> None:
    """Time the steps that do not raise, round by round."""
    able = []
    for name, step in steps.items():
        try:
            step.lay_out()
            step()  # compiles kernels
            able.append(name)
        except (RuntimeError, MemoryError, ValueError) as error:
            _note_failure(name, error, measured)
    start, times = time.perf_counter(), 1
    for turn in range(MOST):
        if turn and time.perf_counter() - start > SECONDS:
            break
        for name in _rotated(able, turn):
            steps[name].lay_out()
            took = seconds(steps[name], device, times)
            measured.seconds[name] = min(took, measured.seconds.get(name, took))
        best = min(measured.seconds.values(), default=1.0)
        able = [name for name in able if measured.seconds[name] <= HOPELESS * best]
        times = max(1, min(TURN_STEPS, int(TURN_SECONDS / best)))


def _rotated(names: Sequence[str], turn: int) -> list[str]:
    at = turn % max(1, len(names))
    return [*names[at:], *names[:at]]


def seconds(work: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Of one call, the mean of several.

    On a CPU it is never longer than the CPU time of all threads: where processes share cores, the
    clock on the wall also counts what the others did.
    """
    machine = Machine(device)
    machine.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    machine.wait()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return (wall if device.type == "cuda" else min(wall, cpu)) / times


def _note_failure(name: str, error: BaseException, measured: Measured) -> None:
    """What raises is no candidate."""
    measured.failed[name] = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    measured.shortage |= memory.is_shortage(error)


def network_of(config: TrialConfig, device: torch.device) -> Network:
    model = config.model
    bare = replace(model, weights="none") if isinstance(model, Encoder) else model
    return build_network(bare, config.channels, _side(config, device)).to(device)


def _side(config: TrialConfig, device: torch.device) -> int:
    """Pixels a side of the images: the trial's own, as far as more would change the answer."""
    of_one_size = isinstance(config.model, Encoder) and fixed_size(config.model.name)
    if device.type == "cuda" or of_one_size:
        return config.image_size
    return min(config.image_size, LARGEST)


def batch_of(config: TrialConfig, device: torch.device, images: int) -> Batch:
    """Random bytes."""
    side = _side(config, device)
    generator = torch.Generator().manual_seed(0)
    shape = (images, side, side, config.channels + 1)
    slices_BHWD = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    slices_BHWD[..., -1] %= 2
    return Batch(slices_BHWD, np.arange(images))
