"""What a sweep is: a question, a space, what is tried first, a strategy and a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from typing import Literal, get_args

from brainseg.claims import Claim, arms_of
from brainseg.config import TrialConfig
from brainseg.space import Params, Space, Value, build


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Points are proposed by what was seen so far; trials pause at rungs, the best go on.

    Sources: proposals.py and rungs.py, or for ``sampler="tpe"`` Bergstra et al. (2011).
    """

    trials: int = 20
    grace_epochs: int = 4  # no trial pauses before
    reduction: int = 3  # one trial in `reduction` goes on beyond each rung
    sampler: Literal["gp", "tpe", "random"] = "gp"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("grace_epochs", 1), ("reduction", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.sampler not in ("gp", "tpe", "random"):
            raise ValueError(f"sampler must be gp, tpe or random, got {self.sampler!r}")


@dataclass(frozen=True, kw_only=True)
class Points:
    """Nothing is drawn: each point, once with every seed, is trained to its last epoch.

    All points come with the first seed, then all with the second.
    """

    seeds: tuple[int, ...] = (0,)
    trials: int | None = None  # the first so many; None: all

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {self.seeds}")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sweep may spend beside its number of trials: whatever is spent first ends it."""

    hours: float = inf  # of wall time, over all commands that went on with the sweep
    device_hours: float = inf  # of its trials
    patience: int = 0  # trials in a row that may end without a better Dice; 0: any number
    terminator: bool = False  # end where Optuna's terminator expects less than the noise

    def __post_init__(self) -> None:
        for name in ("hours", "device_hours"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}")


# What a search may aim at, beside Dice in columns of its own: Dice is maximised, costs minimised.
Objective = Literal["dice", "device_seconds", "parameters", "milliseconds_per_image"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, kw_only=True)
class Split:
    """How slices are divided into train, validation and test."""

    by: str = "patients"  # or "slices": the report's, which leaks; or the path of a CSV file
    validation: float = 0.2  # share of the patients; of what test leaves, if by slices
    test: float = 0.1  # share that the search never sees
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("patients", "slices") and not self.by.lower().endswith(".csv"):
            raise ValueError(
                "a split is by patients, by slices or from a file whose name ends in .csv, "
                f"got {self.by!r}"
            )
        if not (0 < self.validation < 1 and 0 <= self.test < 1 and self.validation + self.test < 1):
            raise ValueError(
                "validation must be above 0, test at least 0, and both together below 1, "
                f"got {self.validation} and {self.test}"
            )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One question, and the compute it may spend on the answer."""

    name: str
    question: str
    space: Space[TrialConfig]
    first: tuple[Mapping[str, Value], ...] = ()  # tried in this order before the searcher draws
    strategy: Bayes | Points = Bayes()
    budget: Budget = Budget()
    objectives: tuple[Objective, ...] = ("dice",)  # the first decides who goes on at a rung
    split: Split = Split()
    claims: tuple[Claim, ...] = ()  # of an earlier study; the run's records are held against them

    def __post_init__(self) -> None:
        for claim in self.claims:
            for arm in arms_of(claim):
                build(self.space.base, arm)  # refuses a path that no trial could have
        if isinstance(self.strategy, Points):
            _check_points(self.space, self.first)
        _check_budget(self)
        _check_objectives(self.objectives)

    @property
    def trials(self) -> int:
        """How many there will be."""
        if isinstance(self.strategy, Bayes):
            return self.strategy.trials
        whole = len(self.first) * len(self.strategy.seeds)
        return whole if self.strategy.trials is None else min(self.strategy.trials, whole)

    def points(self) -> list[tuple[Params, Params]]:
        """What is tried first, in its order, as (drawn, pinned), see ``Space.split``."""
        if isinstance(self.strategy, Bayes):
            return [self.space.split(point) for point in self.first]
        return [
            self.space.split({**point, "seed": seed})
            for seed in self.strategy.seeds
            for point in self.first
        ]


def _check_budget(sweep: Sweep) -> None:
    """Refuse limits that contradict each other."""
    strategy, budget = sweep.strategy, sweep.budget
    if isinstance(strategy, Points):
        if budget.patience or budget.terminator:
            raise ValueError(
                "patience and terminator end a search; a sweep of points runs its whole list: "
                "leave them out"
            )
    elif budget.patience >= strategy.trials:
        raise ValueError(
            f"patience must be below the {strategy.trials} trials, or it never ends anything, got "
            f"{budget.patience}; lower it or raise trials"
        )


def _check_objectives(objectives: tuple[str, ...]) -> None:
    for name in objectives:
        if name not in OBJECTIVES:
            raise ValueError(
                f"an objective is one of what trials record, {', '.join(OBJECTIVES)}, got {name!r}"
            )
    if objectives[:1] != ("dice",) or len(set(objectives)) < len(objectives):
        raise ValueError(
            "objectives must begin with dice, which decides who goes on at a rung, and name each "
            f"once, got {', '.join(objectives) or 'none'}"
        )


def grid(axes: Mapping[str, Sequence[Value]]) -> tuple[Params, ...]:
    """Every combination of the values of some paths; the last path changes fastest."""
    return tuple(dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _check_points(space: Space[TrialConfig], points: Sequence[Mapping[str, Value]]) -> None:
    """Refuse points that a sweep cannot run as they stand."""
    if not points:
        raise ValueError("a sweep of points needs one or more in `first`, got none")
    if loose := sorted(space.distributions()):
        raise ValueError(
            f"a sweep of points draws nothing, but {', '.join(loose)} is searched; "
            "leave `search` empty, or use Bayes"
        )
    seen: dict[TrialConfig, Mapping[str, Value]] = {}
    for point in points:
        if "seed" in point:
            raise ValueError(f"seeds are the strategy's, not a point's, got {dict(point)}")
        config = space.config(point)
        if config in seen:
            raise ValueError(
                f"every point must be another configuration, but {dict(point)} and "
                f"{dict(seen[config])} are the same; leave one out"
            )
        seen[config] = point


# The four models that the report compared by eye; every sweep over encoders begins with them.
REPORT_MODELS: tuple[Mapping[str, Value], ...] = (
    {"model": "plain"},
    {"model": "encoder", "model.encoder.name": "vgg16", "model.encoder.freeze": "nothing"},
    {"model": "encoder", "model.encoder.name": "resnet50", "model.encoder.freeze": "nothing"},
    {
        "model": "encoder",
        "model.encoder.name": "resnet50",
        "model.encoder.freeze": "first",
        "model.encoder.freeze.first.blocks": 2,
    },
)
