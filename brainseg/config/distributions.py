"""Where a hyperparameter is searched: distributions, and rules between hyperparameters."""

import ast
from dataclasses import dataclass
from math import inf
from random import Random
from typing import (
    Any,
    Protocol,
    get_args,
)

Value = bool | int | float | str
Params = dict[str, Value]


class Suggester(Protocol):
    """What a distribution needs of ``optuna.Trial``; lets this module run without Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


class RandomDraws:
    """A ``Suggester`` that draws every value at random, as Optuna's random sampler would."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            return float(min(low * (high / low) ** self.rng.random(), high))
        return self.rng.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.rng.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self.rng.choice(choices)


@dataclass(frozen=True)
class Uniform:
    """Any float in [low, high], all equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return float(self.low), float(self.high)

    def suggest(self, trial: Suggester, path: str) -> Value:
        return trial.suggest_float(path, self.low, self.high)

    def holds(self, value: Value) -> bool:
        return self.low <= float(value) <= self.high


@dataclass(frozen=True)
class LogUniform:
    """Any float in [low, high], every decade equally likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"a logarithmic range needs 0 < low < high, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return float(self.low), float(self.high)

    def suggest(self, trial: Suggester, path: str) -> Value:
        return trial.suggest_float(path, self.low, self.high, log=True)

    def holds(self, value: Value) -> bool:
        return self.low <= float(value) <= self.high


@dataclass(frozen=True)
class Integers:
    """Any of low, low + step, ... up to and including high."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.step > 0):
            raise ValueError(f"integers need low < high and a positive step, got {self}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high

    def suggest(self, trial: Suggester, path: str) -> Value:
        return trial.suggest_int(path, self.low, self.high, step=self.step)

    def holds(self, value: Value) -> bool:
        return value in range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, init=False)
class Choice:
    """One of a few options, without order."""

    options: tuple[Value, ...]

    def __init__(self, *options: Value) -> None:
        if not options or len(set(options)) < len(options):
            raise ValueError(f"a choice needs one or more different options, got {options}")
        object.__setattr__(self, "options", options)

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.options

    def suggest(self, trial: Suggester, path: str) -> Value:
        value: Value = trial.suggest_categorical(path, self.options)
        return value

    def holds(self, value: Value) -> bool:
        return value in self.options


Distribution = Uniform | LogUniform | Integers | Choice


def distribution(text: str) -> Distribution:
    """The distribution whose ``str`` is ``text``, as a sweep's records hold it."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name), text
    values = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    kind: type[Distribution] = {d.__name__: d for d in get_args(Distribution)}[call.func.id]
    return Choice(*values["options"]) if kind is Choice else kind(**values)


@dataclass(frozen=True)
class Above:
    """Legal values: numbers greater than ``low``."""

    low: float

    def allows(self, value: float) -> bool:
        return self.low < value < inf

    def __str__(self) -> str:
        return f"above {self.low}"


@dataclass(frozen=True)
class Within:
    """Legal values: numbers from ``low`` to ``high``, both included."""

    low: float
    high: float = inf

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high and value < inf

    def __str__(self) -> str:
        return f"at least {self.low}" if self.high == inf else f"from {self.low} to {self.high}"


Rule = Above | Within
