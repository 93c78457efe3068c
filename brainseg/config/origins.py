"""Where a sweep's points come from, if they led another run: what it confirms, or refits."""

from dataclasses import dataclass
from typing import Literal

Measured = Literal["out of fold", "in validation", "in the search"]


@dataclass(frozen=True)
class Origin:
    """Why a point is confirmed: it led the search, it is a baseline, or both."""

    trial: str  # of the search; "" if it did not try this configuration
    baseline: bool


@dataclass(frozen=True, kw_only=True)
class Confirms:
    """The search whose best configurations a sweep trains again, fold by fold."""

    search: str  # its folder
    name: str
    uid: str
    top: int  # how many of its configurations were asked for
    origins: tuple[Origin, ...]  # one for each of the sweep's first points


@dataclass(frozen=True, kw_only=True)
class Refits:
    """The configuration of another run that a sweep trains once more, on all unlocked patients.

    Attributes:
        run: the folder of that run: a confirmation, a list of points, or a search.
        group: the name of the search with which all of it began.
        configuration: as the run's tables call it.
        trial: the first trial of it there.
        dice: what the run says of it; None if that is not known.
        low: with ``high`` its 95 % interval; None where the run compares nothing.
        measured: on which patients; those of a search also chose the configuration.
        patients: how many they are; 0 if that is not known.
    """

    run: str
    name: str
    uid: str
    group: str
    configuration: str
    trial: str
    dice: float | None
    low: float | None
    high: float | None
    measured: Measured
    patients: int
