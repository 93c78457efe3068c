"""Which settings count: one has no effect where no configuration takes the branch that it is on."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from brainseg.config.distributions import Params, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import Leaf, branches_to, flatten, rebuild
from brainseg.config.space import Space

Point = Mapping[str, Value]
Needs = dict[str, tuple[Value, ...]]  # other paths, and with which of their values a setting counts

# What settings need besides the branch that they are on.
OTHER_NEEDS: tuple[tuple[str, str, tuple[Value, ...]], ...] = (
    ("optimizer.*.lr", "lr", ("given",)),
    ("schedule.triangular*.floor", "lr", ("given",)),
    ("schedule.exprange.floor", "lr", ("given",)),
    ("augment.missing", "channels", (2, 3, 4)),
    ("model.encoder.layer_decay", "model.encoder.freeze", ("nothing", "first", "gradual")),
)


def needs_of(path: str) -> Needs:
    """What a configuration must have for ``path`` to count."""
    needs: Needs = {branch: (tag,) for branch, tag in branches_to(TrialConfig, path).items()}
    for pattern, other, values in OTHER_NEEDS:
        if fnmatchcase(path, pattern):
            needs[other] = values
    return needs


def lacking(config: TrialConfig, path: str) -> Params:
    """What ``config`` would have to have instead for ``path`` to count; empty if it does."""
    params = flatten(config)
    needs = needs_of(path).items()
    return {other: values[0] for other, values in needs if params.get(other) not in values}


def has_effect(
    space: Space[TrialConfig], points: Iterable[Point], path: str, *, draws: bool
) -> bool:
    """Whether fixing ``path`` in ``space`` changes one of its configurations, see ``obstacle``."""
    return obstacle(space, points, path, draws=draws) is None


def with_effect(
    fixed: Point, space: Space[TrialConfig], points: Iterable[Point], *, draws: bool
) -> Params:
    """Those of ``fixed`` that count in ``space``; older versions recorded others as well."""
    points = list(points)
    return {
        path: value
        for path, value in fixed.items()
        if has_effect(space.holding({path: value}), points, path, draws=draws)
    }


def obstacle(
    space: Space[TrialConfig], points: Iterable[Point], path: str, *, draws: bool
) -> Params | None:
    """What keeps the value that ``space`` fixes at ``path`` from having an effect; None: nothing.

    Args:
        points: configurations that are tried.
        draws: whether others are drawn from the space.

    Returns:
        What would have to be fixed as well; empty if all points have another value of their own.
    """
    lacks = [lacking_in_draws(space, path)] if draws else []
    for point in points:
        if {} in lacks:
            return None
        if point.get(path, space.fixed[path]) == space.fixed[path]:
            lacks.append(lacking(space.config(point), path))
    return None if {} in lacks else min(lacks, key=len, default={})


def refuse_idle(space: Space[TrialConfig], points: Iterable[Point], *, draws: bool) -> None:
    """Refuse a value that is fixed and has no effect.

    Raises:
        ValueError: names the setting, and what else would have to be set.
    """
    points = list(points)
    for path, value in space.fixed.items():
        lacks = obstacle(space, points, path, draws=draws)
        if lacks is None:
            continue
        if not lacks:
            raise ValueError(
                f"{path}={value} has no effect: every configuration of this sweep has a value of "
                "its own; leave it out"
            )
        raise ValueError(
            f"{path}={value} has no effect: no configuration of this sweep has {in_words(lacks)}; "
            f"add {_options(lacks)}, or leave it out"
        )


def refuse_idle_points(space: Space[TrialConfig], points: Iterable[Point]) -> None:
    """Refuse a configuration to try with a value that has no effect in it."""
    for point in points:
        config = space.config(point)
        for path, value in point.items():
            if lacks := lacking(config, path):
                raise ValueError(
                    f"{path}={value} has no effect in the configuration that names it, which has "
                    f"other than {in_words(lacks)}; add that to it, or leave the first out"
                )


def refuse_idle_search(space: Space[TrialConfig]) -> None:
    """Refuse a pattern or a range of a search of which nothing is ever drawn.

    What is fixed does not count: it may come from options, and then narrows a search knowingly.
    """
    free = replace(space, fixed={})
    for pattern in (*space.search, *space.narrow):
        paths = [path for path in free.distributions() if fnmatchcase(path, pattern)]
        lacks = [lacking_in_draws(free, path) for path in paths]
        if lacks and {} not in lacks:
            raise ValueError(
                f"{pattern} is searched to no effect: no configuration that is drawn has "
                f"{in_words(min(lacks, key=len))}; search that as well, or leave it out"
            )


def lacking_in_draws(space: Space[TrialConfig], path: str) -> Params:
    """What ``path`` needs, and no configuration has that is drawn from ``space``."""
    needs, ranges = needs_of(path), space.distributions()
    lacks: Params = {}

    def choose(other: str, default: Any, leaf: Leaf) -> Any:
        if other not in needs:
            return default
        if other in ranges:
            possible = [value for value in needs[other] if ranges[other].holds(value)]
        else:
            possible = [value for value in needs[other] if value == space.fixed.get(other, default)]
        if not possible:
            lacks[other] = needs[other][0]
        return (possible or needs[other])[0]

    rebuild(space.base, choose)
    return lacks


def in_words(params: Params) -> str:
    """`model=encoder and lr=given`."""
    return " and ".join(f"{path}={value}" for path, value in params.items())


def _options(params: Params) -> str:
    return " ".join(f"--set {path}={value}" for path, value in params.items())
