"""What a sweep is: a question, a space, the points to try first, a strategy and a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from typing import Literal, get_args

from brainseg.config.claims import Claim, configurations_of
from brainseg.config.distributions import Params, Value
from brainseg.config.effect import refuse_idle, refuse_idle_points, refuse_idle_search
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.origins import Confirms, Refits
from brainseg.config.points import require_points
from brainseg.config.schema import build
from brainseg.config.space import Space


def _refuse_one_fold(folds: int) -> None:
    """Refuse a single fold, of a split or of a list of points."""
    if folds < 0 or folds == 1:
        raise ValueError(f"folds must be at least 2, or 0 for none, got {folds}; try 5")


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Points are proposed from the results so far; trials pause at rungs, the best resume.

    Sources: search/halving.py; for "tpe" Bergstra et al. (2011), for "gp"
    search/proposals/acquisition.py.
    """

    trials: int = 20
    grace_epochs: int = 4  # every trial trains at least so many
    reduction: int = 3  # one trial in `reduction` passes each rung
    sampler: Literal["gp", "tpe", "random"] = "tpe"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("grace_epochs", 1), ("reduction", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.sampler not in ("gp", "tpe", "random"):
            raise ValueError(f"sampler must be gp, tpe or random, got {self.sampler!r}")


@dataclass(frozen=True, kw_only=True)
class Points:
    """A fixed list: each point is trained to its last epoch, once with every seed and fold.

    All points are trained with the first seed and fold, then all with the second fold, and so on,
    so that all configurations have about as many trials at any time.
    """

    seeds: tuple[int, ...] = (0,)
    folds: int = 0  # each validates in turn; 0: only the fold that a point's config names
    trials: int | None = None  # train only the first so many; None: all
    race: bool = False  # points that cannot be the best get no further seeds, see search/rounds.py

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {self.seeds}")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")
        _refuse_one_fold(self.folds)
        if self.race and not self.folds:
            raise ValueError(
                "a race takes folds: without them its first look is at one training of each point, "
                "which does not show how much trainings vary; add folds, or leave out race"
            )

    @property
    def repeats(self) -> list[Params]:
        """The seed and the fold of each training of a point, in order."""
        folds: list[Params] = [{"fold": fold} for fold in range(self.folds)] or [{}]
        return [{"seed": seed, **fold} for seed in self.seeds for fold in folds]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a sweep may spend; the first limit that is reached ends it."""

    hours: float = inf  # of wall time, over all commands that started or resumed the sweep
    device_hours: float = inf  # of its trials
    patience: int = 0  # trials in a row that may end without a better Dice; 0: no limit
    terminator: bool = False  # end when Optuna's terminator expects a gain below the noise

    def __post_init__(self) -> None:
        for name in ("hours", "device_hours"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}")


TERMINATOR_TRIALS = 20  # complete ones before it may end a search, Optuna's default

# What a search may optimise, columns of a trial's rows: Dice is maximised, costs are minimised.
Objective = Literal["dice", "device_seconds", "parameters", "milliseconds_per_image"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, kw_only=True)
class Split:
    """How slices are divided into train, validation and test."""

    by: str = "patients"  # or "slices", as the report did, which leaks; or a CSV file
    validation: float = 0.2  # share of the patients; if by slices, of those not in test
    # Share that no trial sees, for somebody who means to evaluate on it at the end. Only the others
    # are compared then, in intervals that are wider by sqrt(n / (n - locked)) - 1.
    test: float = 0.0
    seed: int = 0
    folds: int = 0  # of all but the test patients; 0: one fixed validation part

    def __post_init__(self) -> None:
        _refuse_one_fold(self.folds)
        if self.folds and self.by == "slices":
            raise ValueError(
                "folds divide patients, this split is by slices; take --split patients, or no folds"
            )
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
        if self.seed < 0:
            raise ValueError(f"a split's seed must be at least 0, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One question, and the compute it may spend on the answer."""

    name: str
    question: str
    space: Space[TrialConfig]
    first: tuple[Mapping[str, Value], ...] = ()  # tried in this order before anything is drawn
    strategy: Bayes | Points = Bayes()
    budget: Budget = Budget()
    objectives: tuple[Objective, ...] = ("dice",)  # the first decides which trials pass a rung
    split: Split = Split()
    claims: tuple[Claim, ...] = ()  # of an earlier study; the run's records are compared with them
    confirms: Confirms | None = None  # the patients that its search locked stay locked
    refits: Refits | None = None  # nobody validates; the patients that its run locked stay locked

    def __post_init__(self) -> None:
        for claim in self.claims:
            for configuration in configurations_of(claim):
                build(self.space.base, configuration)  # refuses a path that no trial could have
        if self.claims and isinstance(self.strategy, Points) and self.strategy.race:
            raise ValueError(
                "claims are judged beside every configuration, but a race trains some of them with "
                "fewer seeds; leave out race, or the claims"
            )
        if isinstance(self.strategy, Points):
            require_points(self.space, self.first, self.strategy.repeats)
        if not (self.confirms or self.refits):  # which take all settings of another run
            refuse_idle(self.space, self.first, draws=self.draws)
            refuse_idle_points(self.space, self.first)
            refuse_idle_search(self.space)
        _check_budget(self)
        _check_objectives(self.objectives)
        _check_folds(self)

    @property
    def phase(self) -> str:
        if self.refits:
            return "refit"
        return "confirm" if self.confirms else "search"

    @property
    def judged_by(self) -> tuple[str, ...]:
        """Columns of a trial's rows that say what it is worth; a refit has its training loss."""
        return ("train_loss",) if self.refits else self.objectives

    @property
    def draws(self) -> bool:
        """Whether configurations are trained besides the first ones, now or with more trials."""
        return draws(self.space, self.first, self.strategy)

    @property
    def fold_seeds(self) -> tuple[int, ...]:
        """The seeds for each of which folds are cut anew; none in a search, which has one cut.

        So a comparison averages over training sets as well. A single configuration that `train`
        repeats is trained on the fold that its seed had in the list.
        """
        if isinstance(self.strategy, Points):
            return self.strategy.seeds
        if self.space.distributions():
            return ()
        return tuple({self.space.config(point).seed: 0 for point in self.first or ({},)})

    @property
    def trials(self) -> int:
        """How many trials there will be; in a race at most."""
        if isinstance(self.strategy, Bayes):
            return self.strategy.trials
        whole = len(self.first) * len(self.strategy.repeats)
        return whole if self.strategy.trials is None else min(self.strategy.trials, whole)

    def points(self) -> list[tuple[Params, Params]]:
        """The points to try first, in order, as (drawn, pinned); see ``Space.split``."""
        if isinstance(self.strategy, Bayes):
            return [self.space.split(point) for point in self.first]
        return [
            self.space.split({**point, **repeat})
            for repeat in self.strategy.repeats
            for point in self.first
        ]


def draws(
    space: Space[TrialConfig], first: Sequence[Mapping[str, Value]], strategy: Bayes | Points
) -> bool:
    """See ``Sweep.draws``."""
    if isinstance(strategy, Points):
        return False
    return bool(space.distributions()) or strategy.trials > len(first)


def _check_budget(sweep: Sweep) -> None:
    """Refuse limits that contradict each other."""
    strategy, budget = sweep.strategy, sweep.budget
    if isinstance(strategy, Points):
        if budget.patience or budget.terminator:
            raise ValueError(
                "patience and terminator can only end a search, a sweep of points runs its whole "
                "list; leave them out"
            )
        return
    if budget.terminator and (strategy.trials <= TERMINATOR_TRIALS or len(sweep.objectives) > 1):
        raise ValueError(
            f"a terminator can end a search of Dice alone, after {TERMINATOR_TRIALS} complete "
            f"trials, this one has {strategy.trials} trials and the objectives "
            f"{', '.join(sweep.objectives)}; leave it out, or raise trials"
        )
    if budget.patience >= strategy.trials:
        raise ValueError(
            f"patience must be below the {strategy.trials} trials, or it never ends anything, got "
            f"{budget.patience}; lower it or raise trials"
        )


def _check_objectives(objectives: tuple[str, ...]) -> None:
    for name in objectives:
        if name not in OBJECTIVES:
            raise ValueError(f"an objective must be one of {', '.join(OBJECTIVES)}, got {name!r}")
    if objectives[:1] != ("dice",) or len(set(objectives)) < len(objectives):
        raise ValueError(
            "objectives must start with dice, which decides which trials pass a rung, and "
            f"name each once, got {', '.join(objectives) or 'none'}"
        )


def grid(axes: Mapping[str, Sequence[Value]]) -> tuple[Params, ...]:
    """Every combination of the values of some paths; the last path changes fastest."""
    return tuple(dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _check_folds(sweep: Sweep) -> None:
    """Refuse a fold that the split does not have."""
    asked = [sweep.space.config(point).fold for point in ({}, *sweep.first)]
    if isinstance(sweep.strategy, Points):
        asked.append(sweep.strategy.folds - 1)
    if max(asked) >= max(sweep.split.folds, 1):
        has = f"has folds 0 to {sweep.split.folds - 1}" if sweep.split.folds else "has no folds"
        raise ValueError(
            f"fold must be one of the split's, which {has}, got {max(asked)}; "
            "make more with --folds"
        )


# The four models that the report compared by eye; every sweep over encoders starts with them.
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
