"""The searches that search_efficiency.py ranks, each as its users would run it.

All start with the report's four models. Those that draw at random draw a branch the more often the
more there is to search on it, so that the plain U-Net does not take every second trial.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import optuna
from numpy.random import Generator
from optuna.trial import TrialState

from benchmarks.simulated_sweep import Method, Sweep, Trial, Verdict
from brainseg.config.distributions import Choice, Distribution, Integers, LogUniform, Params
from brainseg.config.hyperparameters import ENCODERS
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS
from brainseg.search.halving import Halving, TrialProgress
from brainseg.search.observations import Observation
from brainseg.search.proposals.acquisition import expected_improvement, propose
from brainseg.search.proposals.encoding import SpaceEncoder
from brainseg.search.standings import Standings

GRACE, REDUCTION = 4, 3
COMPLETE, PRUNED = TrialState.COMPLETE, TrialState.PRUNED


class Drawn:
    """Every trial whole; points from ``source``, the first ones given."""

    def __init__(self, space: Space[Any], source: Callable[[Sweep], Params]) -> None:
        self.source = source
        self.first = [space.split(point)[0] for point in REPORT_MODELS]

    def next(self, sweep: Sweep) -> Trial | Params | None:
        return self.first.pop(0) if self.first else self.source(sweep)

    def pause(self, trial: Trial) -> int:
        return trial.epochs

    def judge(self, trial: Trial, sweep: Sweep) -> Verdict:
        return "continue"

    def ended(self, trial: Trial) -> None: ...


class Stopped(Drawn):
    """Asynchronous halving that stops, as Ray's ASHAScheduler and W&B's Hyperband do.

    Both stop a trial that is below the quantile of all that reached its rung.
    """

    def __init__(self, space: Space[Any], source: Callable[[Sweep], Params]) -> None:
        super().__init__(space, source)
        self.scores: dict[int, list[float]] = {}

    def pause(self, trial: Trial) -> int:
        rung = GRACE
        while rung <= trial.finished:
            rung *= REDUCTION
        return min(rung, trial.epochs)

    def judge(self, trial: Trial, sweep: Sweep) -> Verdict:
        scores = self.scores.setdefault(trial.finished, [])
        best = trial.best[trial.finished - 1]
        scores.append(best)
        return "continue" if best >= np.quantile(scores, 1 - 1 / REDUCTION) else "stop"


class Tpe:
    """Optuna's sampler behind ``source``; ``ended_as`` is the state of trials stopped early."""

    def __init__(self, space: Space[Any], rng: Generator, ended_as: TrialState) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = int(rng.integers(2**31))
        sampler = optuna.samplers.TPESampler(
            seed=seed, group=True, multivariate=True, constant_liar=True
        )
        self.space, self.ended_as = space, ended_as
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        for point in REPORT_MODELS:
            self.study.enqueue_trial(space.split(point)[0])
        self.asked: list[optuna.Trial] = []

    def __call__(self, sweep: Sweep) -> Params:
        trial = self.study.ask()
        self.asked.append(trial)
        return self.space(trial)

    def tell(self, trial: Trial) -> None:
        asked, best = self.asked[trial.number], trial.best[trial.finished - 1]
        asked.report(float(trial.dice[trial.finished - 1]), trial.finished)
        state = TrialState.COMPLETE if trial.state == "done" else self.ended_as
        self.study.tell(asked, best if state == TrialState.COMPLETE else None, state)


class TpeByRungs:
    """TPE on a new study each time: what is done is COMPLETE, all else PRUNED at its rung."""

    def __init__(self, space: Space[Any], rng: Generator) -> None:
        self.space, self.seed = space, int(rng.integers(2**31))
        self.ranges = {path: _optuna(d) for path, d in space.distributions().items()}

    def __call__(self, sweep: Sweep) -> Params:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        seed = self.seed + len(sweep.trials)
        sampler = optuna.samplers.TPESampler(seed=seed, group=True, multivariate=True)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(
            [
                optuna.trial.create_trial(
                    state=COMPLETE if len(observed.best) == observed.epochs else PRUNED,
                    value=observed.best[-1],
                    params=dict(observed.params),
                    distributions={path: self.ranges[path] for path in observed.params},
                    intermediate_values={len(observed.best): observed.best[-1]},
                )
                for observed in observations(sweep)
                if observed.best
            ]
        )
        return self.space(study.ask())


def _optuna(d: Distribution) -> optuna.distributions.BaseDistribution:
    if isinstance(d, Choice):
        return optuna.distributions.CategoricalDistribution(d.options)
    if isinstance(d, Integers):
        return optuna.distributions.IntDistribution(d.low, d.high, step=d.step)
    return optuna.distributions.FloatDistribution(d.low, d.high, log=isinstance(d, LogUniform))


class Wandb:
    """W&B's Bayes search behind ``source``, as its documentation has it.

    A Gaussian process of the configuration alone, Matern 3/2; a run's best value so far is its
    value, cut short or not; the highest expected improvement of 1000 points drawn at random.
    """

    def __init__(self, space: Space[Any], rng: Generator) -> None:
        self.tree, self.rng = SpaceEncoder(space), rng

    def __call__(self, sweep: Sweep) -> Params:
        ran = [trial for trial in sweep.trials if trial.epochs_at(sweep.now)]
        codes = self.tree.draw(1000, self.rng)
        if len(ran) < 3:
            return self.tree.point(codes[0])
        best = np.array([trial.best[trial.epochs_at(sweep.now) - 1] for trial in ran])
        known = np.concatenate(self.tree.features(self.tree.codes([t.params for t in ran])), axis=1)
        new = np.concatenate(self.tree.features(codes), axis=1)
        score = (best - best.mean()) / (best.std() or 1.0)
        factor = np.linalg.cholesky(_matern(known, known) + 0.1 * np.eye(len(known)))
        across = np.linalg.solve(factor, _matern(known, new))
        mean = across.T @ np.linalg.solve(factor, score)
        spread = np.sqrt(np.maximum(1 - (across**2).sum(0), 1e-9))
        worth = expected_improvement(mean, spread, score.max())
        return self.tree.point(codes[int(np.argmax(worth))])


def _matern(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    apart = np.sqrt(3 * np.maximum(squared, 0))
    return (1 + apart) * np.exp(-apart)


class Promoted:
    """Ours: halving.py decides which trial continues, ``source`` which point comes next."""

    def __init__(
        self,
        space: Space[Any],
        source: Callable[[Sweep], Params],
        grace: int = GRACE,
        reduction: int = REDUCTION,
        reserve: float = 1.0,
    ) -> None:
        self.halving = Halving(grace=grace, reduction=reduction)
        self.source, self.reserve = source, reserve
        self.first = [space.split(point)[0] for point in REPORT_MODELS]
        self.last: set[int] = set()  # finalists

    def next(self, sweep: Sweep) -> Trial | Params | None:
        trials, standings = sweep.trials, Standings(self.halving, progress(sweep))
        if sweep.left < self.reserve * sweep.workers * (sweep.mean_cost if sweep.trials else 0):
            chosen = standings.finalist()
            if chosen is not None:
                self.last.add(int(chosen))
        else:
            chosen = standings.promotable()
            if chosen is None:
                return self.first.pop(0) if self.first else self.source(sweep)
        return None if chosen is None else trials[int(chosen)]

    def pause(self, trial: Trial) -> int:
        if trial.number in self.last:
            return trial.epochs
        return self.halving.next_pause(_progress(trial, trial.finished))

    def judge(self, trial: Trial, sweep: Sweep) -> Verdict:
        standings = Standings(self.halving, progress(sweep))
        return "pause" if standings.reason(str(trial.number)) else "continue"

    def ended(self, trial: Trial) -> None: ...


def progress(sweep: Sweep) -> list[TrialProgress]:
    return [_progress(trial, trial.epochs_at(sweep.now)) for trial in sweep.trials]


def _progress(trial: Trial, epochs: int) -> TrialProgress:
    cycle = int(trial.params.get("schedule.triangular.cycle_epochs", 0))
    state = "done" if trial.state == "stopped" else trial.state
    return TrialProgress(
        trial=str(trial.number),
        epochs=trial.epochs,
        best=trial.smoothed_best[:epochs],
        cycle=cycle,
        state=state,
    )


def observations(sweep: Sweep) -> list[Observation]:
    return [
        Observation(
            params=trial.params,
            epochs=trial.epochs,
            best=trial.smoothed_best[: trial.epochs_at(sweep.now)],
            seconds=trial.seconds if trial.epochs_at(sweep.now) else 0.0,
            running=trial.state == "running",
        )
        for trial in sweep.trials
    ]


def grid(space: Space[Any], rng: Generator) -> Iterator[Params]:
    """Models and their freezing, three rates, four schedules; in random order, over and over."""
    encoders = [{"model": "plain"}] + [
        {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": freeze}
        for name, freeze in product(ENCODERS.options, ("nothing", "first"))
    ]
    schedules = ("cosine", "onecycle", "triangular", "constant")
    points = [
        space.split({**model, "optimizer.adamw.lr": lr, "schedule": schedule})[0]
        for model, lr, schedule in product(encoders, (3e-4, 1e-3, 3e-3), schedules)
    ]
    while True:
        for number in rng.permutation(len(points)):
            yield points[number]


def at_random(space: Space[Any], rng: Generator) -> Callable[[Sweep], Params]:
    tree = SpaceEncoder(space)
    return lambda sweep: tree.point(tree.draw(1, rng)[0])


def with_tpe(method: type[Drawn], space: Space[Any], rng: Generator, state: TrialState) -> Drawn:
    """``method`` with Optuna's TPE, to which a trial stopped early is reported as ``state``."""
    tpe = Tpe(space, rng, state)
    made = method(space, tpe)
    made.first, made.ended = [], tpe.tell  # type: ignore[method-assign]
    return made


def gridded(space: Space[Any], rng: Generator) -> Drawn:
    points = grid(space, rng)
    return Drawn(space, lambda sweep: next(points))


def ours(space: Space[Any], rng: Generator) -> Promoted:
    return Promoted(space, lambda sweep: propose(space, observations(sweep), rng))


METHODS: dict[str, Callable[[Space[Any], Generator], Method]] = {
    "random": lambda space, rng: Drawn(space, at_random(space, rng)),
    "grid": gridded,
    "TPE": lambda space, rng: with_tpe(Drawn, space, rng, COMPLETE),
    "random + ASHA; W&B random + Hyperband": (
        lambda space, rng: Stopped(space, at_random(space, rng))
    ),
    "TPE + ASHA as Ray reports it": lambda space, rng: with_tpe(Stopped, space, rng, COMPLETE),
    "W&B Bayes + Hyperband": lambda space, rng: Stopped(space, Wandb(space, rng)),
    "TPE + rungs, reported PRUNED": lambda space, rng: with_tpe(Stopped, space, rng, PRUNED),
    "random + promotion": lambda space, rng: Promoted(space, at_random(space, rng)),
    "TPE by rungs + promotion": (lambda space, rng: Promoted(space, TpeByRungs(space, rng))),
    "ours": ours,
}
# These act by the budget, so that a quarter of it is a sweep of its own.
AWARE = ("random + promotion", "TPE by rungs + promotion", "ours")
