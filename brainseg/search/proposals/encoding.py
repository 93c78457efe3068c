"""Points of a space as vectors, conditional hyperparameters included."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.config.distributions import Choice, Integers, LogUniform, Params, Value
from brainseg.config.schema import flatten, leaves
from brainseg.config.space import Space

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


class SpaceEncoder:
    """A space's paths in an order in which they can be drawn, each with its conditions.

    A point is a row of codes, one a path. The code of a choice is the number of its option; that of
    a number, where it lies in its range, from 0 to 1; NaN where the point has no such path.
    """

    def __init__(self, space: Space[Any]) -> None:
        self.ranges = space.distributions()
        self.paths = list(self.ranges)
        self.branches = [leaf.path for leaf in leaves(type(space.base)) if leaf.branches]
        self.conditions = [self._conditions(space, path) for path in self.paths]
        # The more there is to search on a branch, the more often it is drawn; Space.sample draws
        # every branch equally often, which would waste candidates.
        self.weights = [
            np.array([1.0 + self._below(f"{path}.{option}.") for option in self.options(path)])
            for path in self.paths
        ]

    def draw(self, count: int, rng: Generator) -> Floats:
        """Points at random, as codes: (count, P)."""
        return self._pruned(self._random_codes(count, rng))

    def near(self, codes: Floats, rng: Generator) -> Floats:
        """Points, (C, P), with one or two values drawn again; a number mostly moves a little.

        Where that takes another branch, its values are drawn as well.
        """
        redrawn = self._random_codes(len(codes), rng)
        moved = self._rounded(np.clip(codes + 0.15 * rng.standard_normal(codes.shape), 0, 1))
        choices = np.array([bool(self.options(path)) for path in self.paths])
        other = np.where(choices | (rng.random(codes.shape) < 0.3), redrawn, moved)
        present = np.isfinite(codes)
        chance = np.where(present, rng.random(codes.shape), 2.0)
        count = np.minimum(present.sum(1), rng.integers(1, 3, len(codes)))
        changed = chance.argsort(1).argsort(1) < count[:, None]
        return self._pruned(np.where(~present, redrawn, np.where(changed, other, codes)))

    def codes(self, points: Sequence[Mapping[str, Value]]) -> Floats:
        """Points as codes, (len(points), P)."""
        rows = [[self._code(path, point) for path in self.paths] for point in points]
        return self._pruned(np.array(rows, float).reshape(len(points), len(self.paths)))

    def point(self, codes: Floats) -> Params:
        """One row of codes as a point."""
        pairs = zip(self.paths, codes.tolist(), strict=True)
        return {path: self._value(path, code) for path, code in pairs if code == code}

    def features(self, codes: Floats) -> list[Floats]:
        """Features of each path, (C, F): a number's code, a choice's one-hot; centre if absent."""
        features = []
        for path, column in zip(self.paths, codes.T, strict=True):
            if options := self.options(path):
                one_hot = column[:, None] == np.arange(len(options))
                absent = np.isnan(column)[:, None] / len(options)
                features.append((one_hot + absent) / np.sqrt(2))
            else:
                features.append(np.nan_to_num(column, nan=0.5)[:, None])
        return features

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
        conditions: list[tuple[int, int]] = []
        point: Params = {}
        for branch in (branch for branch in self.branches if path.startswith(f"{branch}.")):
            tag = path[len(branch) + 1 :].split(".")[0]
            if branch not in self.ranges:
                met = flatten(space.config(point))[branch] == tag
                conditions += [] if met else [(0, -1)]
            elif tag in self.options(branch):
                conditions.append((self.paths.index(branch), self.options(branch).index(tag)))
                point[branch] = tag
            else:
                conditions.append((0, -1))
            if (0, -1) in conditions:
                break
        return conditions

    def _random_codes(self, count: int, rng: Generator) -> Floats:
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
