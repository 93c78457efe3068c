"""A Gaussian process over configurations and epochs, with a trial's luck as a term of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from brainseg.config.space import Space
from brainseg.search.observations import Observation
from brainseg.search.proposals.encoding import Floats, Numbers, SpaceEncoder

FIRST = 6  # trials with a score that the model needs; until then points are drawn at random
MOST = 120  # trials that the process is given at most
OWN = 0.3  # share of a trial's deviation from similar ones that is not luck
LOWEST = -1.2  # standard deviations below the median; scores below count as this
FACTORS = {"length": (0.6, 1.6), "noise": (0.4, 2.5), "trial": (0.4, 2.5)}  # tried on scales


def posterior_mean(space: Space[Any], trials: Sequence[Observation]) -> Floats:
    """The posterior mean of each trial's score at its last epoch, (T,).

    It finds the best of many trials more reliably than their own scores, since similar trials show
    how much of a score is luck. A trial without a score gets the mean of its configuration. One
    that ended below LOWEST, where the process does not distinguish scores, gets its own score at
    most. Zeros while fewer than two trials have a score.
    """
    if sum(bool(trial.best) for trial in trials) < 2:
        return np.zeros(len(trials))
    features = SpaceEncoder(space).encoded([trial.params for trial in trials])
    observed = observed_of(trials)
    process = fitted(observed, features)
    worth = process.at_end(np.arange(len(trials)))[0] + OWN * process.departures(len(trials))
    ended = [trial.best[-1] if len(trial.best) == trial.epochs else np.inf for trial in trials]
    score = (np.array(ended) - observed.centre) / observed.spread
    mean: Floats = np.where(score < LOWEST, np.minimum(worth, score), worth)
    return observed.centre + observed.spread * mean


@dataclass(frozen=True)
class _Observed:
    """Scores of trials, standardised, each with its trial and how far that had trained."""

    of: Numbers  # (N,), number of the trial
    depth: Floats  # (N,), 0 at the first epoch, 1 at the last
    score: Floats  # (N,)
    centre: float  # the score that becomes 0
    spread: float  # the difference that becomes 1


def modelled(trials: Sequence[Observation]) -> list[int]:
    """Numbers of the trials that the process is given: all, if not more than MOST.

    Of more: running ones first, then those that trained furthest, then a sample of the rest.
    """
    started = [number for number, trial in enumerate(trials) if trial.best or trial.running]
    if len(started) <= MOST:
        return started
    started.sort(key=lambda number: (not trials[number].running, -len(trials[number].best), number))
    rest = started[MOST // 2 :]
    return started[: MOST // 2] + [rest[i * len(rest) // (MOST // 2)] for i in range(MOST // 2)]


def observed_of(trials: Sequence[Observation]) -> _Observed:
    stand = [len(trial.best) for trial in trials]
    common = {epoch for epoch in set(stand) - {0} if stand.count(epoch) >= 3}
    rows = [
        (number, log(epoch) / log(max(trial.epochs, 2)), trial.best[epoch - 1])
        for number, trial in enumerate(trials)
        for epoch in sorted({len(trial.best)} | {e for e in common if e < len(trial.best)})
        if epoch
    ]
    table = np.array(rows)
    score = table[:, 2]
    centre, spread = float(np.median(score)), float(score.std()) or 1.0
    standard = np.maximum((score - centre) / spread, LOWEST)
    return _Observed(table[:, 0].astype(int), table[:, 1], standard, centre, spread)


@dataclass(frozen=True)
class _Scales:
    """Hyperparameters: a length, and shares of the variance of a standardised score.

    The defaults are those that best predicted the last epochs of simulated trials.
    """

    length: float = 0.6  # in codes: values this far apart are nearly unrelated
    pairs: float = 0.2  # share of the configuration's effect that comes from pairs of paths
    passing: float = 0.6  # share of the configuration's effect that changes with the epochs
    trend: float = 1.0  # variance of how training goes in general
    trial: float = 0.15  # of the luck of one trial, at all its epochs
    noise: float = 0.1  # of the noise of one score, at the last epoch
    early: float = 0.3  # what it has more at the first epoch


class _Process:
    """A Gaussian process over configurations and epochs, conditioned on what was observed."""

    def __init__(self, observed: _Observed, features: list[Floats], scales: _Scales) -> None:
        self.observed, self.features, self.scales = observed, features, scales
        of, depth = observed.of, observed.depth
        covariance = self._kernel(of, depth, of, depth) + scales.trial * (of[:, None] == of)
        covariance += np.diag(scales.noise + scales.early * (1 - depth) ** 2)
        self.factor: Floats = cholesky(covariance, lower=True)
        self.white: Floats = solve_triangular(self.factor, observed.score, lower=True)

    def evidence(self) -> float:
        """Log of the marginal likelihood, but for a constant."""
        return float(-(self.white**2).sum() / 2 - np.log(np.diag(self.factor)).sum())

    def at_end(self, of: Numbers) -> tuple[Floats, Floats]:
        """Mean and standard deviation of points at their last epoch, without a trial's luck."""
        across = self._kernel(of, np.ones(len(of)), self.observed.of, self.observed.depth)
        solved = solve_triangular(self.factor, across.T, lower=True)
        variance = 1 + self.scales.trend - (solved**2).sum(0)
        return solved.T @ self.white, np.sqrt(np.maximum(variance, 1e-6))

    def departures(self, trials: int) -> Floats:
        """By how much each trial is expected to deviate from its configuration, (T,)."""
        weights = solve_triangular(self.factor, self.white, lower=True, trans="T")
        return np.asarray(self.scales.trial * np.bincount(self.observed.of, weights, trials))

    def expecting(self, running: Numbers) -> "_Process":
        """This process, as if the trials ``running`` had ended as it expects."""
        if not len(running):
            return self
        before = self.observed
        observed = replace(
            before,
            of=np.concatenate([before.of, running]),
            depth=np.concatenate([before.depth, np.ones(len(running))]),
            score=np.concatenate([before.score, self.at_end(running)[0]]),
        )
        return _Process(observed, self.features, self.scales)

    def _kernel(self, of: Numbers, depth: Floats, of_b: Numbers, depth_b: Floats) -> Floats:
        """Covariance of two sets of values: a sum over paths and over pairs of paths.

        The effect of the configuration is computed once a trial, not once a score.
        """
        s, paths = self.scales, max(1, len(self.features))
        (rows, at), (columns, at_b) = (np.unique(x, return_inverse=True) for x in (of, of_b))
        added, squares = np.zeros((2, len(rows), len(columns)))
        for feature in self.features:
            near = np.exp(-_squared(feature[rows] / s.length, feature[columns] / s.length))
            added += near
            squares += near**2
        of_pairs = (added**2 - squares) / max(1, paths * (paths - 1))
        effect = ((1 - s.pairs) * added / paths + s.pairs * of_pairs)[at[:, None], at_b]
        along = np.exp(-((depth[:, None] - depth_b) ** 2) / 0.2)
        return np.asarray(effect * (1 - s.passing + s.passing * along) + s.trend * along)


def fitted(observed: _Observed, features: list[Floats]) -> _Process:
    """The process with those scales, of a few tried in turn, that have the highest evidence.

    Many scores are thinned while scales are tried.
    """
    thin = slice(None, None, 1 + len(observed.of) // MOST)
    of, depth, score = observed.of[thin], observed.depth[thin], observed.score[thin]
    thinned = replace(observed, of=of, depth=depth, score=score)
    best = _Process(thinned, features, _Scales())
    for name, factors in FACTORS.items():
        for factor in factors:
            scales = replace(best.scales, **{name: getattr(best.scales, name) * factor})
            best = max(best, _Process(thinned, features, scales), key=_Process.evidence)
    return _Process(observed, features, best.scales)


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared distances of rows, (len(a), len(b))."""
    apart = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    squared: Floats = np.maximum(apart, 0)
    return squared
