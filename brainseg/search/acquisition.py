"""Which configuration is tried next: a Gaussian process over configurations and epochs.

Every trial counts with values at the epochs it reached, each told as what it is, so that a value
cut short is never taken for a final one. Three things add up to a score: how training goes in
general, what the configuration changes (for good, and epoch by epoch), and what this one trial has
by chance. The next configuration is the candidate with the highest expected improvement at its
last epoch over somewhat more than the best that the process believes in, per root of the seconds
it is expected to cost.

Conditions are handled by construction: candidates are drawn as the space itself draws, or are the
best trials with a value or two drawn anew. A trial that runs counts with what it has, and at its
end with what is expected of it, so that two workers are not sent to one spot.

Shapes: N observed values, T trials, C candidates, P paths, F features.

Sources: Jones et al. (1998), expected improvement; Ginsbourger et al. (2010), "Kriging is
well-suited to parallelize optimization", for running trials; Swersky et al. (2014), "Freeze-thaw
Bayesian optimization", for curves under one process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.config.schema import (
    Choice,
    Integers,
    LogUniform,
    Params,
    Space,
    Value,
    flatten,
    leaves,
)

FIRST = 6  # trials with a score before a model is believed; until then points are drawn at random
DRAWS, NEIGHBOURS, LEADERS = 300, 200, 6  # candidates, and trials whose neighbours are
MOST = 120  # trials the process is given
MARGIN = 0.3  # standard deviations over the best that an improvement is counted from
OWN = 0.3  # share of a trial's departure from its like that is its configuration's, not luck
LOWEST = -1.2  # standard deviations below the median: how far below hardly matters
FACTORS = {"length": (0.6, 1.6), "noise": (0.4, 2.5), "trial": (0.4, 2.5)}  # tried on scales

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A trial that was begun: what was tried, and what came of it so far."""

    params: Mapping[str, Value]  # the point; further paths, as a whole config has, do no harm
    epochs: int  # planned
    best: tuple[float, ...] = ()  # score after each finished epoch, finite; see rungs.standing
    seconds: float = 0.0  # of one epoch; 0: not known yet
    running: bool = False


def propose(space: Space[Any], seen: Sequence[Seen], rng: Generator) -> Params:
    """The point to try next, one that ``space`` could draw and that is not among ``seen``.

    The same ``seen`` and an equally seeded ``rng`` give the same point. Only where the space holds
    no other, as far as the candidates go, is a point proposed twice.
    """
    tree = Tree(space)
    if not tree.paths:
        return {}
    past = tree.codes([trial.params for trial in seen])
    known = {tuple(row) for row in np.nan_to_num(past, nan=-1).tolist()}
    codes = tree.draw(DRAWS, rng)
    scored = [number for number, trial in enumerate(seen) if trial.best]
    order: Sequence[int] = range(len(codes))
    if len(scored) >= FIRST:
        leaders = sorted(scored, key=lambda number: -seen[number].best[-1])[:LEADERS]
        codes = np.concatenate([codes, tree.near(past[np.resize(leaders, NEIGHBOURS)], rng)])
        order = np.argsort(-_worth(tree, seen, past, codes), kind="stable").tolist()
    rows = np.nan_to_num(codes, nan=-1).tolist()
    chosen = next((number for number in order if tuple(rows[number]) not in known), order[0])
    return tree.point(codes[chosen])


def believed(space: Space[Any], seen: Sequence[Seen]) -> Floats:
    """The score that each trial is believed to be worth at its last epoch, (T,).

    It names the best of many trials more surely than their own scores do, since luck is told from
    merit by what their like have shown. A trial that has shown nothing is worth what its
    configuration is expected to be; one that ended too low for the process to tell how low, see
    LOWEST, is worth its own score at most. Zeros while fewer than two have shown anything.
    """
    if sum(bool(trial.best) for trial in seen) < 2:
        return np.zeros(len(seen))
    features = Tree(space).encoded([trial.params for trial in seen])
    observed = _observed(seen)
    process = _fitted(observed, features)
    worth = process.at_end(np.arange(len(seen)))[0] + OWN * process.departures(len(seen))
    ended = [trial.best[-1] if len(trial.best) == trial.epochs else np.inf for trial in seen]
    own = (np.array(ended) - observed.centre) / observed.spread
    told: Floats = np.where(own < LOWEST, np.minimum(worth, own), worth)
    return observed.centre + observed.spread * told


class Tree:
    """A space's paths in an order in which they can be drawn, each with its conditions.

    A point is a row of codes, one a path: the number of the option of a choice, where a number
    lies between the ends of its range, 0 to 1, and NaN where the point has no such path.
    """

    def __init__(self, space: Space[Any]) -> None:
        self.ranges = space.distributions()
        self.paths = list(self.ranges)
        self.branches = [leaf.path for leaf in leaves(type(space.base)) if leaf.branches]
        self.conditions = [self._conditions(space, path) for path in self.paths]
        # A branch is drawn the more often the more there is to search on it.
        self.weights = [
            np.array([1.0 + self._below(f"{path}.{option}.") for option in self.options(path)])
            for path in self.paths
        ]

    def draw(self, count: int, rng: Generator) -> Floats:
        """Points at random, as codes: (count, P)."""
        return self._pruned(self._anew(count, rng))

    def near(self, codes: Floats, rng: Generator) -> Floats:
        """Points, (C, P), with one or two values drawn anew; a number mostly moves a little.

        What only the new branch has is drawn as well.
        """
        anew = self._anew(len(codes), rng)
        moved = self._rounded(np.clip(codes + 0.15 * rng.standard_normal(codes.shape), 0, 1))
        choices = np.array([bool(self.options(path)) for path in self.paths])
        other = np.where(choices | (rng.random(codes.shape) < 0.3), anew, moved)
        own = np.isfinite(codes)
        chance = np.where(own, rng.random(codes.shape), 2.0)
        count = np.minimum(own.sum(1), rng.integers(1, 3, len(codes)))
        changed = chance.argsort(1).argsort(1) < count[:, None]
        return self._pruned(np.where(~own, anew, np.where(changed, other, codes)))

    def codes(self, points: Sequence[Mapping[str, Value]]) -> Floats:
        """Points as codes, (len(points), P)."""
        rows = [[self._code(path, point) for path in self.paths] for point in points]
        return self._pruned(np.array(rows, float).reshape(len(points), len(self.paths)))

    def point(self, codes: Floats) -> Params:
        """One row of codes as a point."""
        pairs = zip(self.paths, codes.tolist(), strict=True)
        return {path: self._value(path, code) for path, code in pairs if code == code}

    def features(self, codes: Floats) -> list[Floats]:
        """Of each path, (C, F): the code of a number, one-hot of a choice; its centre for none."""
        found = []
        for path, column in zip(self.paths, codes.T, strict=True):
            if options := self.options(path):
                one_hot = column[:, None] == np.arange(len(options))
                absent = np.isnan(column)[:, None] / len(options)
                found.append((one_hot + absent) / np.sqrt(2))
            else:
                found.append(np.nan_to_num(column, nan=0.5)[:, None])
        return found

    def encoded(self, points: Sequence[Mapping[str, Value]]) -> list[Floats]:
        """Features of points, as ``features`` of their codes."""
        return self.features(self.codes(points))

    def options(self, path: str) -> tuple[Value, ...]:
        distribution = self.ranges[path]
        return distribution.options if isinstance(distribution, Choice) else ()

    def _below(self, prefix: str) -> int:
        return sum(path.startswith(prefix) for path in self.paths)

    def _conditions(self, space: Space[Any], path: str) -> list[tuple[int, int]]:
        """The columns, and the number of the option each must hold, for ``path`` to exist."""
        found: list[tuple[int, int]] = []
        point: Params = {}
        for branch in (branch for branch in self.branches if path.startswith(f"{branch}.")):
            tag = path[len(branch) + 1 :].split(".")[0]
            if branch not in self.ranges:
                met = flatten(space.config(point))[branch] == tag
                found += [] if met else [(0, -1)]
            elif tag in self.options(branch):
                found.append((self.paths.index(branch), self.options(branch).index(tag)))
                point[branch] = tag
            else:
                found.append((0, -1))
            if (0, -1) in found:
                break
        return found

    def _anew(self, count: int, rng: Generator) -> Floats:
        """A value for every path, whether it exists or not: (count, P)."""
        units = rng.random((count, len(self.paths)))
        for column, weights in enumerate(self.weights):
            if len(weights):
                shares = np.cumsum(weights)[:-1] / weights.sum()
                units[:, column] = np.searchsorted(shares, units[:, column], side="right")
        return self._rounded(units)

    def _rounded(self, codes: Floats) -> Floats:
        """Codes of integers moved to where an integer lies."""
        for column, path in enumerate(self.paths):
            d = self.ranges[path]
            if isinstance(d, Integers):
                last = (d.high - d.low) // d.step
                codes[:, column] = np.minimum(np.floor(codes[:, column] * (last + 1)), last) / max(
                    last, 1
                )
        return codes

    def _pruned(self, codes: Floats) -> Floats:
        """``codes`` without the paths whose conditions are not met."""
        for column, conditions in enumerate(self.conditions):
            for branch, option in conditions:
                codes[codes[:, branch] != option, column] = np.nan
        return codes

    def _code(self, path: str, point: Mapping[str, Value]) -> float:
        if path not in point:
            return float("nan")
        d, value = self.ranges[path], point[path]
        if isinstance(d, Choice):
            return float(d.options.index(value)) if value in d.options else float("nan")
        if isinstance(d, LogUniform):
            return log(float(value) / d.low) / log(d.high / d.low)
        return (float(value) - d.low) / (d.high - d.low)

    def _value(self, path: str, code: float) -> Value:
        d = self.ranges[path]
        if isinstance(d, Choice):
            return d.options[int(code)]
        if isinstance(d, Integers):
            return d.low + d.step * round(code * (d.high - d.low) / d.step)
        if isinstance(d, LogUniform):
            return float(min(max(d.low * (d.high / d.low) ** code, d.low), d.high))
        return float(min(d.low + (d.high - d.low) * code, d.high))


def _worth(tree: Tree, seen: Sequence[Seen], past: Floats, codes: Floats) -> Floats:
    """Expected improvement of each point at its last epoch, per root of its seconds: (C,)."""
    begun = _kept(seen)
    trials = [seen[number] for number in begun]
    features = tree.features(np.concatenate([past[begun], codes]))
    process = _fitted(_observed(trials), features)
    new = len(trials) + np.arange(len(codes))
    ended, _ = process.at_end(np.arange(len(trials)))
    running = np.array([n for n, trial in enumerate(trials) if trial.running], int)
    mean, spread = process.expecting(running).at_end(new)
    improvement = expected_improvement(mean, spread, ended.max() + MARGIN)
    worth: Floats = improvement / np.sqrt(_seconds(trials, features)[new])
    return worth


@dataclass(frozen=True)
class _Observed:
    """Values that trials showed, standardised, each with the trial and how far it had come."""

    of: Numbers  # (N,), number of the trial
    depth: Floats  # (N,), 0 at the first epoch, 1 at the last
    score: Floats  # (N,)
    centre: float  # the score that is 0 here
    spread: float  # and how much of one is 1


def _kept(seen: Sequence[Seen]) -> list[int]:
    """The trials that the process is given: all, or of many those that ran, the furthest, some."""
    begun = [number for number, trial in enumerate(seen) if trial.best or trial.running]
    if len(begun) <= MOST:
        return begun
    begun.sort(key=lambda number: (not seen[number].running, -len(seen[number].best), number))
    rest = begun[MOST // 2 :]
    return begun[: MOST // 2] + [rest[i * len(rest) // (MOST // 2)] for i in range(MOST // 2)]


def _observed(trials: Sequence[Seen]) -> _Observed:
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

    The defaults are those that best foretold the ends of simulated trials.
    """

    length: float = 0.6  # in codes: how far apart two values are nearly unrelated
    pairs: float = 0.2  # share of the configuration's effect that is of pairs of paths
    passing: float = 0.6  # share of the configuration's effect that changes with the epochs
    trend: float = 1.0  # of training in general
    trial: float = 0.15  # of one trial by chance, at all its epochs
    noise: float = 0.1  # of one value at the last epoch
    early: float = 0.3  # and how much more at the first


class _Process:
    """A Gaussian process over configurations and epochs, given what was observed."""

    def __init__(self, observed: _Observed, features: list[Floats], scales: _Scales) -> None:
        self.observed, self.features, self.scales = observed, features, scales
        of, depth = observed.of, observed.depth
        covariance = self._kernel(of, depth, of, depth) + scales.trial * (of[:, None] == of)
        covariance += np.diag(scales.noise + scales.early * (1 - depth) ** 2)
        self.factor = np.linalg.cholesky(covariance)
        self.white = np.linalg.solve(self.factor, observed.score)

    def evidence(self) -> float:
        """Log of the marginal likelihood, but for a constant."""
        return float(-(self.white**2).sum() / 2 - np.log(np.diag(self.factor)).sum())

    def at_end(self, of: Numbers) -> tuple[Floats, Floats]:
        """Mean and standard deviation of points at their last epoch, chance left out."""
        across = self._kernel(of, np.ones(len(of)), self.observed.of, self.observed.depth)
        solved = np.linalg.solve(self.factor, across.T)
        variance = 1 + self.scales.trend - (solved**2).sum(0)
        return solved.T @ self.white, np.sqrt(np.maximum(variance, 1e-6))

    def departures(self, trials: int) -> Floats:
        """By how much each trial as a whole is believed to depart from its configuration, (T,)."""
        weights = np.linalg.solve(self.factor.T, self.white)
        return np.asarray(self.scales.trial * np.bincount(self.observed.of, weights, trials))

    def expecting(self, running: Numbers) -> "_Process":
        """This process, had the trials ``running`` ended as it expects."""
        if not len(running):
            return self
        seen = self.observed
        observed = replace(
            seen,
            of=np.concatenate([seen.of, running]),
            depth=np.concatenate([seen.depth, np.ones(len(running))]),
            score=np.concatenate([seen.score, self.at_end(running)[0]]),
        )
        return _Process(observed, self.features, self.scales)

    def _kernel(self, of: Numbers, depth: Floats, of_b: Numbers, depth_b: Floats) -> Floats:
        """Covariance of two sets of values: a sum over paths and over pairs of paths.

        What the configuration gives is reckoned once a trial, not once a value of it.
        """
        s, paths = self.scales, max(1, len(self.features))
        (one, at), (other, at_b) = (np.unique(part, return_inverse=True) for part in (of, of_b))
        added, squares = np.zeros((len(one), len(other))), np.zeros((len(one), len(other)))
        for feature in self.features:
            near = np.exp(-_squared(feature[one] / s.length, feature[other] / s.length))
            added += near
            squares += near**2
        of_pairs = (added**2 - squares) / max(1, paths * (paths - 1))
        effect = ((1 - s.pairs) * added / paths + s.pairs * of_pairs)[at[:, None], at_b]
        along = np.exp(-((depth[:, None] - depth_b) ** 2) / 0.2)
        return np.asarray(effect * (1 - s.passing + s.passing * along) + s.trend * along)


def _fitted(observed: _Observed, features: list[Floats]) -> _Process:
    """The process under the scales, of a few tried one after the other, with the best evidence.

    Many values are thinned for the trying.
    """
    thin = slice(None, None, 1 + len(observed.of) // MOST)
    of, depth, score = observed.of[thin], observed.depth[thin], observed.score[thin]
    part = replace(observed, of=of, depth=depth, score=score)
    best = _Process(part, features, _Scales())
    for name, factors in FACTORS.items():
        for factor in factors:
            scales = replace(best.scales, **{name: getattr(best.scales, name) * factor})
            best = max(best, _Process(part, features, scales), key=_Process.evidence)
    return _Process(observed, features, best.scales)


def _squared(a: Floats, b: Floats) -> Floats:
    """Squared distances of rows, (len(a), len(b))."""
    apart = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    squared: Floats = np.maximum(apart, 0)
    return squared


def _seconds(trials: Sequence[Seen], features: list[Floats]) -> Floats:
    """Seconds of an epoch of each trial and point, by ridge regression of their logarithm."""
    table = np.concatenate(features, axis=1)
    known = [number for number, trial in enumerate(trials) if trial.seconds > 0]
    if not known:
        return np.ones(len(table))
    told = np.log([trials[number].seconds for number in known])
    centre = table[known].mean(0)
    rows = table[known] - centre
    slopes = np.linalg.solve(
        rows.T @ rows + 0.1 * np.eye(len(centre)), rows.T @ (told - told.mean())
    )
    return np.asarray(np.exp(told.mean() + (table - centre) @ slopes))


def expected_improvement(mean: Floats, spread: Floats, best: float) -> Floats:
    """By how much normal variables are expected to exceed ``best``, where they do, (C,)."""
    gain = (mean - best) / spread
    found: Floats = spread * (gain * _normal_below(gain) + _normal_density(gain))
    return found


def _normal_density(z: Floats) -> Floats:
    density: Floats = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return density


def _normal_below(z: Floats) -> Floats:
    """The normal distribution function, to 1e-7: Abramowitz and Stegun (1964), 26.2.17."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    series = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = _normal_density(z) * sum(c * t ** (i + 1) for i, c in enumerate(series))
    below: Floats = np.where(z >= 0, 1 - tail, tail)
    return below
