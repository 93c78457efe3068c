"""A sweep on simulated devices: trials in parallel, asynchronously, each second counted.

A method (see search_methods.py) says what a free device does next and what becomes of a trial that
has reached an epoch at which it is judged. It sees of a running trial what a driver would: the
epochs finished by now.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, Protocol

import numpy as np
from numpy.random import Generator

from benchmarks.curve_simulator import Truth
from brainseg.config.distributions import Params
from brainseg.search.halving import smoothed_best

Verdict = Literal["continue", "pause", "stop"]
# Device-seconds spent, and the true Dice of what would be returned then: by the highest Dice that
# was observed in one epoch, and by halving.smoothed_best.
Path = list[tuple[float, float, float]]


@dataclass
class Trial:
    """One simulated training."""

    number: int
    params: Params
    epochs: int  # planned
    dice: np.ndarray  # of all its epochs; a method may read the finished ones only
    seconds: float  # of an epoch
    state: Literal["running", "paused", "stopped", "done"] = "running"
    finished: int = 0  # epochs
    until: int = 0  # the epoch at which it is judged next
    epoch_start: float = 0.0  # when its first epoch since the last start or resume started

    def epochs_at(self, now: float) -> int:
        """Epochs finished by now."""
        epochs = self.finished
        if self.state == "running":
            epochs = min(
                epochs + max(0, int((now - self.epoch_start) / self.seconds + 1e-9)), self.until
            )
        return epochs

    def __post_init__(self) -> None:
        self.best: tuple[float, ...] = tuple(np.maximum.accumulate(self.dice).tolist())
        self.smoothed_best = smoothed_best(self.dice.tolist())


@dataclass
class Sweep:
    """What a method may look at."""

    budget: float  # device-seconds
    workers: int
    start_seconds: float  # of every start and resume
    now: float = 0.0
    trials: list[Trial] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.budget - self.workers * self.now

    @property
    def mean_cost(self) -> float:
        """Device-seconds of a whole trial, as the trials so far show."""
        return float(np.mean([t.epochs * t.seconds for t in self.trials])) + self.start_seconds


class Method(Protocol):
    def next(self, sweep: Sweep) -> Trial | Params | None:
        """A paused trial to resume, a point to start, or None: nothing to do for now."""

    def pause(self, trial: Trial) -> int:
        """The epoch at whose end the trial is judged next."""

    def judge(self, trial: Trial, sweep: Sweep) -> Verdict: ...

    def ended(self, trial: Trial) -> None: ...


def run(
    method: Method,
    truth: Truth,
    *,
    budget: float,
    workers: int,
    start_seconds: float,
    epochs: Callable[[Params], int],
    rng: Generator,
) -> tuple[Path, Sweep]:
    """Spend the budget; the true Dice of the configuration the sweep would return, over time."""
    sweep = Sweep(budget, workers, start_seconds)
    free, coming, path = list(range(workers)), [], []
    while True:
        while free:
            chosen = method.next(sweep)
            if chosen is None:
                break
            free.pop()
            trial = (
                _start(sweep, truth, chosen, epochs, rng) if isinstance(chosen, dict) else chosen
            )
            _train_on(sweep, method, trial, coming, start=True)
        if not coming:
            break
        when, _, number = heappop(coming)
        if when * workers > budget:
            break
        sweep.now = when
        trial = sweep.trials[number]
        trial.finished = trial.until
        verdict: Verdict = "continue"
        if trial.finished < trial.epochs:
            verdict = method.judge(trial, sweep)
        if trial.finished < trial.epochs and verdict == "continue":
            _train_on(sweep, method, trial, coming, start=False)
            continue
        ending = "done" if trial.finished == trial.epochs else "stopped"
        trial.state = "paused" if verdict == "pause" else ending
        if trial.state != "paused":
            method.ended(trial)
        free.append(0)
        path.append(
            (
                when * workers,
                returned(sweep.trials, "best"),
                returned(sweep.trials, "smoothed_best"),
            )
        )
    return _valued(path, truth), sweep


def _start(
    sweep: Sweep, truth: Truth, point: Params, epochs: Callable[[Params], int], rng: Generator
) -> Trial:
    length = epochs(point)
    seconds = float(truth.seconds([point])[0] * np.exp(0.05 * rng.standard_normal()))
    dice = truth.train(point, length, rng)
    trial = Trial(len(sweep.trials), point, length, dice, seconds)
    sweep.trials.append(trial)
    return trial


def _train_on(sweep: Sweep, method: Method, trial: Trial, coming: list, *, start: bool) -> None:
    trial.state, trial.until = "running", method.pause(trial)
    assert trial.finished < trial.until <= trial.epochs
    trial.epoch_start = sweep.now + (sweep.start_seconds if start else 0.0)
    arrival = trial.epoch_start + (trial.until - trial.finished) * trial.seconds
    heappush(coming, (arrival, len(coming), trial.number))


def returned(trials: Sequence[Trial], score: str) -> Trial:
    """The trial that a sweep names as its best: by its own observations, of those that are done."""
    done = [trial for trial in trials if trial.state == "done"]
    shown = done or [trial for trial in trials if trial.finished]
    return max(shown, key=lambda trial: getattr(trial, score)[trial.finished - 1])


def _valued(path: list[tuple[float, Trial, Trial]], truth: Truth) -> Path:
    named = {trial.number: trial for _, *pair in path for trial in pair}
    worth = {n: float(truth.quality([t.params], t.epochs)[0]) for n, t in named.items()}
    return [(when, worth[one.number], worth[other.number]) for when, one, other in path]
