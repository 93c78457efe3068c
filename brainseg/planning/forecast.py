"""What a sweep will take, reckoned from what a few of its arms were measured to take.

What will be drawn is not known; draws at random stand for it.
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
from brainseg.models.encoders import require_known
from brainseg.models.network import require_size
from brainseg.planning.cost_model import Costs, cost_key, steady, work_at
from brainseg.planning.probe import Measured
from brainseg.search.halving import Halving

DRAWS = 300  # configurations that stand for all that could be drawn
SWEEPS = 200  # put together from these, for the range
# What reckoned arms took, in what the line through the smallest and the largest said: seven
# networks at 64 pixels between mit_b0 and vgg16, by benchmarks/work_and_time.py.
RECKONED = 0.6, 2.4
CHECKPOINTS = 3  # of a running trial: the last two, and one that is being written

Outcomes = Mapping[TrialConfig, Measured | str]  # by cost_key; a reason where an arm cannot run


@dataclass(frozen=True, kw_only=True)
class Place:
    """What each epoch goes through, and what there is to do it with."""

    train: int  # slices
    validation: int
    placement: Placement
    memory_bytes: float  # of the host, for all trials at once


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one model of the sweep is expected to cost; zeros if it cannot run."""

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

    Ranges are low if early stopping cuts as halving would in the mean, what is drawn is cheap
    (5 %), and arms that were not measured take less than reckoned; high if no trial is stopped,
    what is drawn is dear (95 %), and those arms take more.

    Attributes:
        epochs: of all trials together.
        device_seconds: of all workers together.
        seconds: until the last trial ends.
        disk_bytes: of checkpoints, at the most.
    """

    trials: int
    arms: tuple[Arm, ...]
    placement: Placement
    epochs: Range
    device_seconds: Range
    seconds: Range
    disk_bytes: float


def obstacle(config: TrialConfig, place: Place) -> str:
    """Why a configuration cannot run, as far as can be told without running it; or nothing."""
    model, workers = config.model, place.placement.workers
    try:
        if config.batch_size % workers:
            raise ValueError(f"{config.batch_size} images do not divide among {workers} workers")
        if isinstance(model, Encoder):
            require_known(model.name)
        require_size(model, config.image_size)
        needs = work_at(config, workers)
    except ValueError as error:
        return str(error)
    least = (needs.memory - needs.activations / 2) * workers  # in half precision
    if place.placement.gpus or least < place.memory_bytes:
        return ""
    return f"it needs {_gb(least)} at the least, there are {_gb(place.memory_bytes)}"


def expected_epochs(strategy: Bayes | Points, epochs: int) -> float:
    """Epochs of a trial in the mean if each rung lets its share go on, and no more.

    The first trials at a rung have little to be compared with, and a few are run to their end
    whatever their share; so a sweep takes more than this, and at most ``epochs``.
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
    """The trials of the sweep; of one that draws, as they might be, many times over.

    What does not matter to their costs is as in the default config.
    """
    space = sweep.space
    first = [space.config({**drawn, **pinned}) for drawn, pinned in sweep.points()][: sweep.trials]
    first = [_alike(config) for config in first]
    if len(first) == sweep.trials:
        return [first]
    rng = Random(0)
    pool = [_alike(space.config(space.sample(rng))) for _ in range(DRAWS)]
    left = sweep.trials - len(first)
    return [[*first, *rng.choices(pool, k=left)] for _ in range(SWEEPS)]


def reckon(sweep: Sweep, points: Sequence[TrialConfig], outcomes: Outcomes, place: Place) -> Plan:
    """The plan that follows from what was measured; ``points`` name the arms.

    Raises:
        ValueError: no arm was measured.
    """
    measured = {key: found for key, found in outcomes.items() if isinstance(found, Measured)}
    if not measured:
        raise ValueError(
            f"none of the sweep's arms can run: {'; '.join(map(str, outcomes.values()))}"
        )
    costs = Costs(measured, place.placement.workers)
    arms: dict[TrialConfig, TrialConfig] = {}
    for config in points:
        arms.setdefault(cost_key(config), config)
    sweeps = likely_sweeps(sweep)
    prices = {
        config: _price(config, costs, place)
        for config in dict.fromkeys(config for trials in sweeps for config in trials)
        if not _refused(config, outcomes, place)
    }
    priced = [[(c, prices[c]) for c in trials if c in prices] for trials in sweeps]
    halved, (less, more) = partial(expected_epochs, sweep.strategy), RECKONED
    low = [_totals(trials, place, halved, less) for trials in priced]
    high = [_totals(trials, place, float, more) for trials in priced]
    ranges = [
        Range(float(np.quantile(least, 0.05)), float(np.quantile(most, 0.95)))
        for least, most in zip(zip(*low, strict=True), zip(*high, strict=True), strict=True)
    ]
    ranges = [
        _capped(span, limit) for span, limit in zip(ranges, _limits(sweep, place), strict=True)
    ]
    return Plan(
        trials=sweep.trials,
        arms=tuple(_arm(config, costs, outcomes, place) for config in arms.values()),
        placement=place.placement,
        epochs=ranges[0],
        device_seconds=ranges[1],
        seconds=ranges[2],
        disk_bytes=max(_disk(trials, place.placement.concurrent) for trials in priced),
    )


def _limits(sweep: Sweep, place: Place) -> tuple[float, float, float]:
    """What the sweep's budget allows of epochs, device-seconds and seconds."""
    seconds = 3600 * sweep.budget.hours
    devices = place.placement.concurrent * place.placement.workers
    return inf, min(3600 * sweep.budget.device_hours, seconds * devices), seconds


def _capped(span: Range, limit: float) -> Range:
    return Range(min(span.low, limit), min(span.high, limit))


@dataclass(frozen=True, kw_only=True)
class _Price:
    """Of one trial."""

    start_seconds: float
    epoch_seconds: float
    best_bytes: int
    state_bytes: int
    measured: bool


def _price(config: TrialConfig, costs: Costs, place: Place) -> _Price:
    best, state = costs.checkpoint_bytes(config)
    return _Price(
        start_seconds=costs.start_seconds(config),
        epoch_seconds=costs.epoch_seconds(config, place.train, place.validation),
        best_bytes=best,
        state_bytes=state,
        measured=cost_key(config) in costs.measured,
    )


def _totals(
    trials: Sequence[tuple[TrialConfig, _Price]],
    place: Place,
    epochs: Callable[[int], float],
    error: float,
) -> tuple[float, float, float]:
    """Epochs, device-seconds, and seconds until the last of ``trials`` ends.

    Each begins as soon as one of those under way has ended. Those that were not measured take
    ``error`` times what was reckoned.
    """
    lengths = [epochs(config.epochs) for config, _ in trials]
    seconds = [
        (price.start_seconds + length * price.epoch_seconds) * (1 if price.measured else error)
        for length, (_, price) in zip(lengths, trials, strict=True)
    ]
    ends = [0.0] * place.placement.concurrent
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return sum(lengths), sum(seconds) * place.placement.workers, max(ends)


def _disk(trials: Sequence[tuple[TrialConfig, _Price]], concurrent: int) -> float:
    """Of the best network of every trial, of what it goes on from, and what runs writes anew."""
    states = sorted((price.state_bytes for _, price in trials), reverse=True)
    kept = sum(price.best_bytes for _, price in trials) + sum(states)
    return float(kept + (CHECKPOINTS - 1) * sum(states[:concurrent]))


def _alike(config: TrialConfig) -> TrialConfig:
    return replace(cost_key(config), epochs=config.epochs, lr=config.lr)


def _refused(config: TrialConfig, outcomes: Outcomes, place: Place) -> str:
    found = outcomes.get(cost_key(steady(config)))
    if found is None:
        return obstacle(config, place)
    return found if isinstance(found, str) else ""


def _arm(config: TrialConfig, costs: Costs, outcomes: Outcomes, place: Place) -> Arm:
    named = partial(
        Arm,
        name=configuration_name(config),
        batch_size=config.batch_size,
        image_size=config.image_size,
    )
    if why := _refused(config, outcomes, place):
        return named(obstacle=why)
    peak, share = costs.peak_bytes(config), _share(costs, place)
    short = f"it takes {_gb(peak)}, there are {_gb(share)} for each worker"
    return named(
        measured=cost_key(config) in costs.measured,
        step_seconds=costs.step_seconds(config),
        epoch_seconds=costs.epoch_seconds(config, place.train, place.validation),
        start_seconds=costs.start_seconds(config),
        peak_bytes=peak,
        checkpoint_bytes=costs.checkpoint_bytes(config)[0],
        obstacle=short if peak > share else "",
    )


def _share(costs: Costs, place: Place) -> float:
    """Bytes of memory for each worker, while as many trials as planned run at once."""
    placement = place.placement
    if placement.gpus:
        whole = max(found.capacity_bytes for found in costs.measured.values())
        return whole * min(1.0, placement.gpus)
    return place.memory_bytes / (placement.concurrent * placement.workers)


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
