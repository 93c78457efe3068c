"""Which configuration is tried next: a Gaussian process over configurations and epochs.

Every trial counts with values at the epochs it reached, each told as what it is, so that a value
cut short is never taken for a final one. Three things add up to a score: how training goes in
general, what the configuration changes (for good, and epoch by epoch), and what this one trial has
by chance. The next configuration is the candidate with the highest expected improvement at its
last epoch over the best that the process believes in, per root of its expected seconds.

Conditions are handled by construction: candidates are drawn as the space itself draws, or are the
best trials with a value or two drawn anew. A trial that runs counts with what it has, and at its
end with what is expected of it, so that two workers are not sent to one spot.

Shapes: N observed values, T trials, C candidates, P paths, F features.

Sources: Jones et al. (1998), expected improvement; Ginsbourger et al. (2010), "Kriging is
well-suited to parallelize optimization", for running trials; Swersky et al. (2014), "Freeze-thaw
Bayesian optimization", for curves under one process.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.space import Choice, Integers, LogUniform, Params, Space, Value, flatten, leaves

FIRST = 6  # trials with a score before a model is believed; until then points are drawn at random
DRAWS, NEIGHBOURS, LEADERS = 200, 100, 5  # candidates, and trials whose neighbours are

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A trial that was begun: what was tried, and what came of it so far."""

    params: Mapping[str, Value]  # the point; further paths, as a whole config has, do no harm
    epochs: int  # planned
    best: tuple[float, ...] = ()  # best score after each finished epoch
    seconds: float = 0.0  # of one epoch; 0: not known yet
    running: bool = False


def propose(space: Space[Any], seen: Sequence[Seen], rng: Generator) -> Params:
    """The point to try next, one that ``space`` could draw and that is not among ``seen``.

    The same ``seen`` and an equally seeded ``rng`` give the same point. Only where the space holds
    no other, as far as the candidates go, is a point proposed twice.
    """
    tree = Tree(space)
    known = {tree.key(trial.params) for trial in seen}
    points = [tree.draw(rng) for _ in range(DRAWS)]
    scored = [trial for trial in seen if trial.best]
    if len(scored) >= FIRST:
        leaders = sorted(scored, key=lambda trial: -trial.best[-1])[:LEADERS]
        points += [tree.near(leaders[i % LEADERS].params, rng) for i in range(NEIGHBOURS)]
    points = [point for point in points if tree.key(point) not in known] or points[:1]
    if len(scored) < FIRST:
        return points[0]
    return points[int(np.argmax(_worth(tree, seen, points)))]


class Tree:
    """A space's paths in an order in which they can be drawn, each with its conditions."""

    def __init__(self, space: Space[Any]) -> None:
        self.ranges = space.distributions()
        branches = [leaf.path for leaf in leaves(type(space.base)) if leaf.branches]
        self.conditions = {
            path: [
                (b, path[len(b) + 1 :].split(".")[0]) for b in branches if path.startswith(f"{b}.")
            ]
            for path in (*self.ranges, *branches)
        }
        self.held = flatten(space.config({}))
        for branch in branches:
            for option in self._options(branch):
                point = {**dict(self.conditions[branch]), branch: option}
                self.held = {**flatten(space.config(point)), **self.held}
        # A branch is drawn the more often the more there is to search on it.
        self.weights = {
            branch: [1 + sum(p.startswith(f"{branch}.{o}.") for p in self.ranges) for o in options]
            for branch in branches
            if (options := self._options(branch))
        }

    def draw(self, rng: Generator) -> Params:
        """A point at random."""
        return self._point({}, (), rng)

    def near(self, params: Mapping[str, Value], rng: Generator) -> Params:
        """``params`` with one or two of its values drawn anew; a number may only move a little."""
        own = [path for path in self.ranges if path in params and self._exists(path, params)]
        count = min(len(own), int(rng.integers(1, 3)))
        return self._point(params, set(rng.choice(own, count, replace=False)), rng)

    def key(self, params: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
        """What is drawn of ``params``, to tell whether two points are the same."""
        return tuple((p, params[p]) for p in self.ranges if p in params and self._exists(p, params))

    def encode(self, points: Sequence[Mapping[str, Value]]) -> list[Floats]:
        """Of each path the points' features, (C, F): 0 to 1 along a range, one-hot for a choice.

        A path that a point has not is at its centre.
        """
        return [np.array([self._features(path, point) for point in points]) for path in self.ranges]

    def _options(self, branch: str) -> tuple[Value, ...]:
        distribution = self.ranges.get(branch)
        return distribution.options if isinstance(distribution, Choice) else ()

    def _exists(self, path: str, values: Mapping[str, Value]) -> bool:
        return all(values.get(b, self.held.get(b)) == tag for b, tag in self.conditions[path])

    def _point(self, base: Mapping[str, Value], anew: Collection[str], rng: Generator) -> Params:
        values: Params = {}
        for path in self.ranges:
            if not self._exists(path, values):
                continue
            if path not in base or not self.ranges[path].holds(base[path]):
                values[path] = self._drawn(path, rng)
            elif path not in anew:
                values[path] = base[path]
            elif isinstance(self.ranges[path], Choice) or rng.random() < 0.3:
                values[path] = self._drawn(path, rng)
            else:
                moved = self._unit(path, base[path]) + 0.15 * rng.standard_normal()
                values[path] = self._value(path, float(np.clip(moved, 0, 1)))
        return values

    def _drawn(self, path: str, rng: Generator) -> Value:
        distribution = self.ranges[path]
        if not isinstance(distribution, Choice):
            return self._value(path, rng.random())
        weights = np.array(self.weights.get(path, [1] * len(distribution.options)), float)
        return distribution.options[int(rng.choice(len(weights), p=weights / weights.sum()))]

    def _value(self, path: str, unit: float) -> Value:
        """The value that lies at ``unit``, 0 to 1, of a path's range."""
        d = self.ranges[path]
        assert not isinstance(d, Choice)
        if isinstance(d, Integers):
            count = (d.high - d.low) // d.step + 1
            return d.low + d.step * min(int(unit * count), count - 1)
        if isinstance(d, LogUniform):
            return float(min(max(d.low * (d.high / d.low) ** unit, d.low), d.high))
        return float(min(d.low + (d.high - d.low) * unit, d.high))

    def _unit(self, path: str, value: Value) -> float:
        """Where ``value`` lies in a path's range, 0 to 1."""
        d = self.ranges[path]
        assert not isinstance(d, Choice)
        if isinstance(d, LogUniform):
            return log(float(value) / d.low) / log(d.high / d.low)
        return (float(value) - d.low) / (d.high - d.low)

    def _features(self, path: str, point: Mapping[str, Value]) -> list[float]:
        d = self.ranges[path]
        there = path in point and self._exists(path, point)
        if isinstance(d, Choice):
            if not there:
                return [2**-0.5 / len(d.options)] * len(d.options)
            return [2**-0.5 * (point[path] == option) for option in d.options]
        return [self._unit(path, point[path]) if there else 0.5]


def _worth(tree: Tree, seen: Sequence[Seen], points: Sequence[Params]) -> Floats:
    """Expected improvement of each point at its last epoch, per root of its seconds."""
    trials = [trial for trial in seen if trial.best or trial.running]
    features = tree.encode([*(trial.params for trial in trials), *points])
    process = _Process.fit(trials, features)
    of_trials, of_points = np.arange(len(trials)), len(trials) + np.arange(len(points))
    ended, _ = process.at_end(of_trials, ())
    running = [i for i, trial in enumerate(trials) if trial.running]
    mean, spread = process.at_end(of_points, running)
    gain = (mean - ended.max()) / spread
    improvement = spread * (gain * _normal_below(gain) + _normal_density(gain))
    worth: Floats = improvement / np.sqrt(_seconds(trials, features)[of_points])
    return worth


class _Process:
    """The Gaussian process, conditioned on what the trials showed."""

    def __init__(self, trials: Sequence[Seen], features: list[Floats]) -> None:
        rows = [
            (number, log(epoch) / log(max(trial.epochs, 2)), trial.best[epoch - 1])
            for number, trial in enumerate(trials)
            for epoch in _told(trial, trials)
        ]
        of, depth, score = (np.array(column) for column in zip(*rows, strict=True))
        self.of, self.depth = of.astype(int), depth
        self.centre, self.scale = float(np.median(score)), float(score.std()) or 1.0
        self.score = np.maximum((score - self.centre) / self.scale, -2.0)
        self.distances = [_squared(f) for f in features]

    @classmethod
    def fit(cls, trials: Sequence[Seen], features: list[Floats]) -> "_Process":
        process = cls(trials, features)
        process.condition()
        return process

    def condition(self) -> None:
        n = len(self.score)
        same = self.of[:, None] == self.of[None, :]
        covariance = self.kernel(self.of, self.depth, self.of, self.depth)
        covariance = covariance + 0.1 * same + 0.1 * np.eye(n)
        self.factor = np.linalg.cholesky(covariance)
        self.weights = np.linalg.solve(covariance, self.score)

    def kernel(self, of_a: Any, depth_a: Floats, of_b: Any, depth_b: Floats) -> Floats:
        added: Any = 0.0
        joint: Any = 0.0
        for distance in self.distances:
            part = distance[np.ix_(of_a, of_b)]
            added = added + np.exp(-part / 0.3)
            joint = joint + part / 0.5
        config = 0.5 * added / len(self.distances) + 0.5 * np.exp(-joint)
        along = np.exp(-((depth_a[:, None] - depth_b[None, :]) ** 2) / 0.2)
        result: Floats = config * (0.7 + 0.3 * along) + along
        return result

    def at_end(self, of: Any, running: Collection[int]) -> tuple[Floats, Floats]:
        """Mean and standard deviation at the last epoch; ``running`` end as expected."""
        ends = np.ones(len(of))
        across = self.kernel(of, ends, self.of, self.depth)
        mean = across @ self.weights
        all_of, all_depth = self.of, self.depth
        if running:
            all_of = np.concatenate([self.of, np.array(list(running))])
            all_depth = np.concatenate([self.depth, np.ones(len(running))])
            across = self.kernel(of, ends, all_of, all_depth)
            covariance = self.kernel(all_of, all_depth, all_of, all_depth)
            covariance += 0.1 * (all_of[:, None] == all_of[None, :]) + 0.1 * np.eye(len(all_of))
            factor = np.linalg.cholesky(covariance)
        else:
            factor = self.factor
        solved = np.linalg.solve(factor, across.T)
        variance = 2.0 - (solved**2).sum(0)
        return mean, np.sqrt(np.maximum(variance, 1e-6))


def _told(trial: Seen, trials: Sequence[Seen]) -> list[int]:
    """The epochs whose values count: where a trial stands, and where several others do."""
    stand = [len(other.best) for other in trials]
    last = len(trial.best)
    common = {e for e in set(stand) if stand.count(e) >= 3}
    return sorted({last, *(e for e in common if e <= last)} - {0})


def _squared(features: Floats) -> Floats:
    squares = (features**2).sum(1)
    apart: Floats = np.maximum(squares[:, None] + squares[None, :] - 2 * features @ features.T, 0)
    return apart


def _seconds(trials: Sequence[Seen], features: list[Floats]) -> Floats:
    """Seconds of an epoch of each trial and point, by ridge regression of their logarithm."""
    table = np.concatenate(features, axis=1)
    known = [i for i, trial in enumerate(trials) if trial.seconds > 0]
    if not known:
        return np.ones(len(table))
    told = np.log([trials[i].seconds for i in known])
    rows = table[known] - table[known].mean(0)
    slopes = np.linalg.solve(
        rows.T @ rows + 0.1 * np.eye(table.shape[1]), rows.T @ (told - told.mean())
    )
    result: Floats = np.exp(told.mean() + (table - table[known].mean(0)) @ slopes)
    return result


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
