"""A sweep of many trials whose driver is the real one, and whose trials only write their rows.

What Ray Tune would call is called here in its order: the searcher's next trial, the listener's
epoch, the recorder's callbacks. Records, rungs and Optuna's journal are the real ones. Each call
is an event: its CPU time is noted with how many trials had been proposed by then.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import optuna

from brainseg.config.sweep import Bayes, Sweep
from brainseg.launch.recorder import Recorder
from brainseg.records.files import append_line, write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.halving import Halving
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from brainseg.tracking.mirror import Mirror

Kind = Literal["start", "epoch", "end", "decision"]


@dataclass(frozen=True)
class Event:
    """One call of the driver."""

    kind: Kind
    proposed: int  # trials so far
    seconds: float  # of CPU time


def dice(name: str, epoch: int) -> float:
    """A curve that grows to a level of its own, with noise; the same at every call."""
    rng = np.random.default_rng([int(name), epoch])
    level = np.random.default_rng(int(name)).uniform(0.4, 0.9)
    return float(np.clip(level * (1 - math.exp(-epoch / 5)) + 0.02 * rng.normal(), 0.01, 0.99))


@dataclass
class LongSweep:
    """``sweep`` under its driver; ``slots`` trials train side by side, an epoch in turn."""

    run: Run
    sweep: Sweep
    slots: int = 4
    watch: Callable[[Kind], Any] | None = None  # a context manager around each event
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.run.create()
        strategy = self.sweep.strategy
        halving = None
        if isinstance(strategy, Bayes):
            halving = Halving(grace=strategy.grace_epochs, reduction=strategy.reduction)
        self.study = Study(self.run, self.sweep)
        self.scheduler = TrialScheduler(self.run, halving)
        self.driver = SearchDriver(
            self.run,
            self.study,
            self.scheduler,
            BudgetTracker(self.run, self.sweep.budget),
            num_trials=self.sweep.trials,
            slots=lambda: self.slots,
        )
        mirror = Mirror(self.run, "off", print)
        self.recorder = Recorder(self.driver, mirror, lambda name: "", lambda line: None)
        self._training: list[str] = []

    def drive(self, trials: int | None = None) -> None:
        """Train until the search ends, or so many trials were proposed."""
        while trials is None or len(self.scheduler.trials) < trials:
            while len(self._training) < self.slots and (name := self._next()):
                with self._event("start"):
                    self.recorder.on_trial_start(0, [], self._trial(name))
                self._training.append(name)
            if not self._training:
                break
            for name in list(self._training):
                self._train(name)

    def _next(self) -> str | None:
        with self._event("decision"):
            return self.driver.next()

    def _train(self, name: str) -> None:
        """One epoch, and what follows from it."""
        folder, progress = self.run.trial(name), self.scheduler.trials[name]
        line = write_epoch(folder, len(progress.best) + 1, progress.epochs)
        with self._event("epoch"):
            self.driver.on_epoch(name, EpochRow.from_json(line))
            self.recorder.on_trial_result(0, [], self._trial(name), line)
        done = line["epoch"] >= (folder.pause_epoch or progress.epochs) or folder.stop.exists()
        if done:
            with self._event("end"):
                self.recorder.on_trial_complete(0, [], self._trial(name))
            self._training.remove(name)

    def _trial(self, name: str) -> Any:
        """What the recorder reads of a trial of Tune's."""
        return SimpleNamespace(config={"trial": name})

    @contextmanager
    def _event(self, kind: Kind) -> Iterator[None]:
        proposed = len(self.scheduler.trials)
        if self.watch:
            with self.watch(kind):
                yield
            return
        before = time.process_time()
        yield
        self.events.append(Event(kind, proposed, time.process_time() - before))


def write_epoch(folder: TrialDir, epoch: int, planned: int) -> dict[str, Any]:
    """What a trial leaves of an epoch: its row, its costs, at the end its last table."""
    name = folder.trial
    curve = [dice(name, e) for e in range(1, epoch + 1)]
    best = max(curve)
    line = {"epoch": epoch, "train_loss": 1 - curve[-1], "val_loss": 1 - curve[-1]}
    line |= {"dice": curve[-1], "best_dice": best, "best_epoch": 1 + curve.index(best)}
    line |= {"seconds": 2.0, "devices": 1, "parameters": 1e6 * (1 + int(name) % 7)}
    line |= {"milliseconds_per_image": 2.0, "lr": 1e-3, "images_per_second": 100.0}
    append_line(folder.metrics, line)
    costs = {"epoch": epoch, "start": 0.1, "train": 1.5, "score": 0.5, "keep": 0.1, "devices": 1}
    append_line(folder.costs_path, costs)
    if epoch == planned:
        write_text(folder.last, "patient,dice\n")
    return line
