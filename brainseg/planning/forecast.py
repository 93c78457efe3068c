"""What a sweep will take, estimated from a few of its configurations that were measured.

What the search will draw is not known; random draws stand for it.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random

import numpy as np

from brainseg.cluster.placement import Placement
from brainseg.config.hyperparameters import Encoder, TrialConfig, configuration_name
from brainseg.config.sweep import Bayes, Points, Sweep
from brainseg.data.pipeline.batches import require_divisible
from brainseg.models.encoders import require_known
from brainseg.models.network import require_size
from brainseg.planning.cost_model import CostModel, cost_key, steady, work_at
from brainseg.planning.probe import Measured
from brainseg.search.halving import Halving

DRAWS = 300  # configurations that stand for all that could be drawn
SWEEPS = 200  # assembled from these, for the range
# Measured over estimated time, where a line through the smallest and the largest of nine networks
# estimates the seven between them, at 64 pixels (benchmarks/work_and_time.py).
ESTIMATE_ERROR = 0.6, 2.4
CHECKPOINTS = 3  # of a running trial: the last two, and one that is being written

Outcomes = Mapping[TrialConfig, Measured | str]  # by cost_key; a reason where one cannot run


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The slices of each epoch, and the machines that train on them."""

    train: int  # slices
    validation: int
    placement: Placement
    memory_bytes: float  # of the host, for all trials at once


@dataclass(frozen=True, kw_only=True)
class ConfigurationCost:
    """What one configuration of the sweep is expected to cost; zeros if it cannot run."""

    name: str
    batch_size: int  # images a step, over all workers
    image_size: int  # pixels a side
    measured: bool = False
    step_seconds: float = 0.0
    epoch_seconds: float = 0.0
    start_seconds: float = 0.0
    peak_bytes: float = 0.0  # of one worker's process; on a GPU, of its memory
    checkpoint_bytes: int = 0  # that stay when the trial has ended
    obstacle: str = ""  # why it cannot run, or may not


@dataclass(frozen=True)
class Range:
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep is expected to take.

    The low end of a range: trials stop as early as halving stops them on average, the search draws
    cheap configurations (5 %), and those that were not measured take less than estimated. The high
    end: no trial is stopped, the draws are costly (95 %), and those not measured take more.

    Attributes:
        epochs: of all trials together.
        device_seconds: of all workers together.
        seconds: until the last trial ends.
        disk_bytes: of checkpoints, at most.
    """

    trials: int
    configurations: tuple[ConfigurationCost, ...]
    placement: Placement
    epochs: Range
    device_seconds: Range
    seconds: Range
    disk_bytes: float


def obstacle(config: TrialConfig, workload: Workload) -> str:
    """Why a configuration cannot run, as far as is known without running it; "" if it can."""
    model, workers = config.model, workload.placement.workers
    try:
        require_divisible(config.batch_size, workers)
        if isinstance(model, Encoder):
            require_known(model.name)
        require_size(model, config.image_size)
        needs = work_at(config, workers)
    except ValueError as error:
        return str(error)
    least = (needs.memory - needs.activations / 2) * workers  # in half precision
    if workload.placement.gpus or least < workload.memory_bytes:
        return ""
    return f"it needs at least {_gb(least)}, there are {_gb(workload.memory_bytes)}"


def expected_epochs(strategy: Bayes | Points, epochs: int) -> float:
    """Mean epochs of a trial if each rung lets exactly its share continue.

    A sweep takes more than this, and at most ``epochs``: the first trials at a rung have little to
    be compared with, and a few are trained to their end in any case.
    """
    if isinstance(strategy, Points):
        return float(epochs)
    taken, share, before = 0.0, 1.0, 0
    halving = Halving(grace=strategy.grace_epochs, reduction=strategy.reduction)
    for rung in halving.rungs(epochs):
        taken += share * (rung - before)
        before, share = rung, share / strategy.reduction
    return taken + share * (epochs - before)


def likely_sweeps(sweep: Sweep) -> list[list[TrialConfig]]:
    """The trials of the sweep; if it draws points, many versions of what they might be.

    Hyperparameters that do not change the cost are at their defaults.
    """
    space = sweep.space
    first = [space.config({**drawn, **pinned}) for drawn, pinned in sweep.points()][: sweep.trials]
    first = [_cost_relevant(config) for config in first]
    if len(first) == sweep.trials:
        return [first]
    rng = Random(0)
    pool = [_cost_relevant(space.config(space.sample(rng))) for _ in range(DRAWS)]
    left = sweep.trials - len(first)
    return [[*first, *rng.choices(pool, k=left)] for _ in range(SWEEPS)]


def estimate(
    sweep: Sweep, points: Sequence[TrialConfig], outcomes: Outcomes, workload: Workload
) -> Plan:
    """The plan that follows from what was measured; ``points`` are the sweep's configurations.

    Raises:
        ValueError: none of them was measured.
    """
    measured = {key: cost for key, cost in outcomes.items() if isinstance(cost, Measured)}
    if not measured:
        raise ValueError(
            f"none of the sweep's configurations can run: {'; '.join(map(str, outcomes.values()))}"
        )
    costs = CostModel(measured, workload.placement.workers)
    configurations: dict[TrialConfig, TrialConfig] = {}
    for config in points:
        configurations.setdefault(cost_key(config), config)
    sweeps = likely_sweeps(sweep)
    prices = {
        config: _price(config, costs, workload)
        for config in dict.fromkeys(config for trials in sweeps for config in trials)
        if not _refused(config, outcomes, workload)
    }
    priced = [[(c, prices[c]) for c in trials if c in prices] for trials in sweeps]
    halved, (less, more) = partial(expected_epochs, sweep.strategy), ESTIMATE_ERROR
    low = [_totals(trials, workload, halved, less) for trials in priced]
    high = [_totals(trials, workload, float, more) for trials in priced]
    ranges = [
        Range(float(np.quantile(least, 0.05)), float(np.quantile(most, 0.95)))
        for least, most in zip(zip(*low, strict=True), zip(*high, strict=True), strict=True)
    ]
    ranges = [
        _capped(span, limit) for span, limit in zip(ranges, _limits(sweep, workload), strict=True)
    ]
    return Plan(
        trials=sweep.trials,
        configurations=tuple(
            _configuration_cost(config, costs, outcomes, workload)
            for config in configurations.values()
        ),
        placement=workload.placement,
        epochs=ranges[0],
        device_seconds=ranges[1],
        seconds=ranges[2],
        disk_bytes=max(_disk(trials, workload.placement.concurrent) for trials in priced),
    )


def _limits(sweep: Sweep, workload: Workload) -> tuple[float, float, float]:
    """What the sweep's budget allows of epochs, device-seconds and seconds."""
    seconds = 3600 * sweep.budget.hours
    devices = workload.placement.concurrent * workload.placement.workers
    return inf, min(3600 * sweep.budget.device_hours, seconds * devices), seconds


def _capped(span: Range, limit: float) -> Range:
    return Range(min(span.low, limit), min(span.high, limit))


@dataclass(frozen=True, kw_only=True)
class _Price:
    """What one trial costs."""

    start_seconds: float
    epoch_seconds: float
    best_bytes: int
    state_bytes: int
    measured: bool


def _price(config: TrialConfig, costs: CostModel, workload: Workload) -> _Price:
    best, state = costs.checkpoint_bytes(config)
    return _Price(
        start_seconds=costs.start_seconds(config),
        epoch_seconds=costs.epoch_seconds(config, workload.train, workload.validation),
        best_bytes=best,
        state_bytes=state,
        measured=cost_key(config) in costs.measured,
    )


def _totals(
    trials: Sequence[tuple[TrialConfig, _Price]],
    workload: Workload,
    epochs: Callable[[int], float],
    error: float,
) -> tuple[float, float, float]:
    """Epochs, device-seconds, and seconds until the last of ``trials`` ends.

    Each starts as soon as a running one has ended. Those that were not measured take ``error``
    times the estimate.
    """
    lengths = [epochs(config.epochs) for config, _ in trials]
    seconds = [
        (price.start_seconds + length * price.epoch_seconds) * (1 if price.measured else error)
        for length, (_, price) in zip(lengths, trials, strict=True)
    ]
    ends = [0.0] * workload.placement.concurrent
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return sum(lengths), sum(seconds) * workload.placement.workers, max(ends)


def _disk(trials: Sequence[tuple[TrialConfig, _Price]], concurrent: int) -> float:
    """The best network and the latest state of every trial, and what running trials rewrite."""
    states = sorted((price.state_bytes for _, price in trials), reverse=True)
    kept = sum(price.best_bytes for _, price in trials) + sum(states)
    return float(kept + (CHECKPOINTS - 1) * sum(states[:concurrent]))


def _cost_relevant(config: TrialConfig) -> TrialConfig:
    return replace(cost_key(config), epochs=config.epochs, lr=config.lr)


def _refused(config: TrialConfig, outcomes: Outcomes, workload: Workload) -> str:
    outcome = outcomes.get(cost_key(steady(config)))
    if outcome is None:
        return obstacle(config, workload)
    return outcome if isinstance(outcome, str) else ""


def _configuration_cost(
    config: TrialConfig, costs: CostModel, outcomes: Outcomes, workload: Workload
) -> ConfigurationCost:
    named = partial(
        ConfigurationCost,
        name=configuration_name(config),
        batch_size=config.batch_size,
        image_size=config.image_size,
    )
    if why := _refused(config, outcomes, workload):
        return named(obstacle=why)
    peak, share = costs.peak_bytes(config), _share(costs, workload)
    short = f"it needs {_gb(peak)}, there are {_gb(share)} for each worker"
    return named(
        measured=cost_key(config) in costs.measured,
        step_seconds=costs.step_seconds(config),
        epoch_seconds=costs.epoch_seconds(config, workload.train, workload.validation),
        start_seconds=costs.start_seconds(config),
        peak_bytes=peak,
        checkpoint_bytes=costs.checkpoint_bytes(config)[0],
        obstacle=short if peak > share else "",
    )


def _share(costs: CostModel, workload: Workload) -> float:
    """Bytes of memory for each worker, while as many trials as planned run at once."""
    placement = workload.placement
    if placement.gpus:
        whole = max(measured.capacity_bytes for measured in costs.measured.values())
        return whole * min(1.0, placement.gpus)
    return workload.memory_bytes / (placement.concurrent * placement.workers)


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
