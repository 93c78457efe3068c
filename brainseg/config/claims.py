"""What an earlier study concluded, stated so that the records of a run can be held against it.

An arm is named by a point, some paths and their values: it stands for every trial that has these
values. A claim about an arm of several models holds if it holds for each of them.

A curve is the validation Dice after each epoch of a trial. Three numbers are taken from it:

    best         its highest value
    convergence  the first epoch at which it reaches 0.9 of the lower of the two best values, of
                 its own and of the curve it is compared with
    roughness    its mean absolute change from one epoch to the next in the second half of training
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from brainseg.config.distributions import Value

Point = Mapping[str, Value]


@dataclass(frozen=True)
class Best:
    """The arm's best Dice, mean over seeds, is above that of every other arm."""

    text: str
    arm: Point


@dataclass(frozen=True)
class Worst:
    """The arm's best Dice, mean over seeds, is below that of every other arm."""

    text: str
    arm: Point


@dataclass(frozen=True)
class Faster:
    """The arm converges in fewer epochs than another."""

    text: str
    arm: Point
    than: Point


@dataclass(frozen=True)
class Rougher:
    """The arm's curve is rougher than that of every other arm."""

    text: str
    arm: Point


Claim = Best | Worst | Faster | Rougher
KINDS: dict[str, type[Claim]] = {
    kind.__name__.lower(): kind for kind in (Best, Worst, Faster, Rougher)
}


def to_record(claim: Claim) -> dict[str, Any]:
    """The claim as JSON can hold it; ``from_record`` is the inverse."""
    return {"kind": type(claim).__name__.lower(), **asdict(claim)}


def from_record(record: Mapping[str, Any]) -> Claim:
    """The claim that a sweep's record holds.

    Raises:
        ValueError: a kind that this version does not know.
    """
    fields = dict(record)
    kind = fields.pop("kind")
    if kind not in KINDS:
        raise ValueError(
            f"a claim is one of {', '.join(KINDS)}, got {kind!r}; the run was begun by another "
            "version of brainseg"
        )
    return KINDS[kind](**fields)


def arms_of(claim: Claim) -> tuple[Point, ...]:
    """The arms that the claim names."""
    return (claim.arm, claim.than) if isinstance(claim, Faster) else (claim.arm,)


def stands_for(arm: Point, params: Point) -> bool:
    """Whether a trial of these hyperparameters is one of the arm's."""
    return all(params.get(path) == value for path, value in arm.items())
