"""A small config with branches, a part and a step, for the laws of schema and space."""

from dataclasses import dataclass
from typing import Annotated, Literal

from brainseg.config.distributions import (
    Above,
    Integers,
    Uniform,
)


@dataclass(frozen=True, kw_only=True)
class Tea:
    grams: Annotated[float, Uniform(1.0, 5.0), Above(0)] = 2.0


@dataclass(frozen=True, kw_only=True)
class Coffee:
    beans: Tea = Tea()  # a part that is no choice
    roast: Literal["light", "dark"] = "dark"


@dataclass(frozen=True, kw_only=True)
class Breakfast:
    drink: Tea | Coffee = Tea()
    eggs: Annotated[int, Integers(0, 4, 2)] = 2
