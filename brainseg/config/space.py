"""A search space: a base configuration, and which of its hyperparameters are searched."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from random import Random
from typing import (
    Any,
    Generic,
)

from brainseg.config.distributions import (
    Distribution,
    Params,
    RandomDraws,
    Suggester,
    Value,
)
from brainseg.config.schema import (
    Leaf,
    T,
    applied,
    did_you_mean,
    flatten,
    leaf_of,
    leaves,
    rebuild,
    require_legal,
)


@dataclass(frozen=True)
class Space(Generic[T]):
    """``base``, with the paths that match a pattern of ``search`` searched."""

    base: T
    search: tuple[str, ...]  # glob patterns over paths, e.g. "optimizer*"
    narrow: Mapping[str, Distribution] = field(default_factory=dict)  # replaces a field's own range
    fixed: Mapping[str, Value] = field(default_factory=dict)  # not searched: held where it exists

    def __post_init__(self) -> None:
        searchable = [leaf.path for leaf in leaves(type(self.base)) if leaf.distribution]
        for pattern in (*self.search, *self.narrow):
            if not any(fnmatchcase(path, pattern) for path in (*searchable, *self.narrow)):
                raise ValueError(
                    f"no searchable hyperparameter matches {pattern!r}"
                    f"{did_you_mean(pattern, searchable)}"
                )
        for path, distribution in self.narrow.items():
            leaf = leaf_of(type(self.base), path)
            if not any(fnmatchcase(path, pattern) for pattern in self.search):
                raise ValueError(f"{path} is given a range but is not searched; search it as well")
            for end in distribution.ends:
                require_legal(end, leaf)
        for path, value in self.fixed.items():
            require_legal(value, leaf_of(type(self.base), path))
        self.config({})  # refuses an illegal base here, before anything is drawn

    def __call__(self, trial: Suggester) -> Params:
        """Draw a point. Optuna's define-by-run form, so conditions need no support from Ray."""
        drawn: Params = {}

        def draw(path: str, default: Any, leaf: Leaf) -> Any:
            distribution = self._distribution(leaf)
            if distribution is None:
                return self.fixed.get(path, default)
            drawn[path] = distribution.suggest(trial, path)
            return drawn[path]

        rebuild(self.base, draw)
        return drawn

    def sample(self, rng: Random) -> Params:
        """A point at random: every value as likely as its distribution says."""
        return self(RandomDraws(rng))

    def config(self, point: Mapping[str, Value]) -> T:
        """The config at ``point``; paths that it leaves out are fixed, or as in the base."""
        return applied(self.base, point, self.fixed)

    def holding(self, point: Mapping[str, Value]) -> "Space[T]":
        """This space with the values of ``point`` fixed as well."""
        return replace(self, fixed={**self.fixed, **point})

    def distributions(self) -> dict[str, Distribution]:
        """Every searched path, along all branches, with the range it is drawn from."""
        return dict(self._searched)

    @cached_property
    def _searched(self) -> Mapping[str, Distribution]:
        searched = {leaf.path: self._distribution(leaf) for leaf in leaves(type(self.base))}
        return {path: distribution for path, distribution in searched.items() if distribution}

    def split(self, point: Mapping[str, Value]) -> tuple[Params, Params]:
        """A point to try, as (drawn, pinned): its values of searched paths, and all others.

        Raises:
            ValueError: a value outside the range it would be drawn from; the search could neither
                propose nor model it.
        """
        full, ranges = flatten(self.config(point)), self._searched
        for path in full.keys() & ranges.keys():
            if not ranges[path].holds(full[path]):
                raise ValueError(
                    f"{path}={full[path]!r} is outside the range searched, {ranges[path]}; "
                    "widen the range or leave the point out"
                )
        drawn = {path: value for path, value in full.items() if path in ranges}
        pinned = {path: value for path, value in point.items() if path not in ranges}
        return drawn, pinned

    def _distribution(self, leaf: Leaf) -> Distribution | None:
        """What ``leaf`` is drawn from; None if it is not searched."""
        if leaf.path in self.fixed:
            return None
        is_searched = any(fnmatchcase(leaf.path, pattern) for pattern in self.search)
        return self.narrow.get(leaf.path, leaf.distribution) if is_searched else None
