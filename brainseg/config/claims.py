"""What an earlier study concluded, stated so that it can be compared with the records of a run.

A claim names its configuration by some paths and their values: every trial that has these values
matches. A claim about several models holds if it holds for each of them.

Dice is that of the last epoch, which no score chose. A curve is the validation Dice after each
epoch of a trial. Two numbers are taken from it:

    convergence  the first epoch at which its moving mean over 5 epochs reaches 0.9 of the lower
                 of the two curves' means in the second half of training
    roughness    its mean absolute change from one epoch to the next in the second half of training
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from brainseg.config.distributions import Value

Point = Mapping[str, Value]


@dataclass(frozen=True)
class Best:
    """The configuration's Dice, mean over patients and seeds, is above that of every other."""

    text: str
    configuration: Point


@dataclass(frozen=True)
class Worst:
    """The configuration's Dice, mean over patients and seeds, is below that of every other."""

    text: str
    configuration: Point


@dataclass(frozen=True)
class Faster:
    """The configuration converges in fewer epochs than another."""

    text: str
    configuration: Point
    than: Point


@dataclass(frozen=True)
class Rougher:
    """The configuration's curve is rougher than that of every other."""

    text: str
    configuration: Point


Claim = Best | Worst | Faster | Rougher
KINDS: dict[str, type[Claim]] = {
    kind.__name__.lower(): kind for kind in (Best, Worst, Faster, Rougher)
}


def to_record(claim: Claim) -> dict[str, Any]:
    """The claim as JSON can hold it; ``from_record`` is the inverse."""
    fields = asdict(claim)
    return {"kind": type(claim).__name__.lower(), "arm": fields.pop("configuration"), **fields}


def from_record(record: Mapping[str, Any]) -> Claim:
    """The claim that a sweep's record holds.

    Raises:
        ValueError: a kind that this version does not know.
    """
    fields = dict(record)
    kind, configuration = fields.pop("kind"), fields.pop("arm")
    if kind not in KINDS:
        raise ValueError(
            f"a claim is one of {', '.join(KINDS)}, got {kind!r}; the run was started by another "
            "version of brainseg; use that one"
        )
    return KINDS[kind](configuration=configuration, **fields)


def configurations_of(claim: Claim) -> tuple[Point, ...]:
    """The configurations that the claim names."""
    rivals = (claim.than,) if isinstance(claim, Faster) else ()
    return (claim.configuration, *rivals)


def matches(configuration: Point, params: Point) -> bool:
    """Whether a trial of these hyperparameters is one of the configuration's."""
    return all(params.get(path) == value for path, value in configuration.items())
