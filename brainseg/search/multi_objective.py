"""Several aims at once: Dice against what it costs, and who is beaten in none of them.

A search with several aims proposes by one of their many weightings, another for each trial, so
that the trials spread along the front (ParEGO).

Source: Knowles (2006), "ParEGO", equations 2 and 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, log

from numpy.random import Generator

from brainseg.search.observations import Observation

RHO = 0.05  # weight of the sum beside the worst aim, Knowles' own
ObjectiveCosts = Mapping[str, float]  # an aim -> what a whole training of the trial costs in it


def scalarise(
    seen: Sequence[tuple[Observation, ObjectiveCosts]], rng: Generator
) -> list[Observation]:
    """``seen`` with each Dice replaced by its value under one random weighting of all objectives.

    Dice and the logarithms of costs are scaled to 0 at the best seen and 1 at the worst. Without
    costs, the trials are as they were.
    """
    aims = list(dict.fromkeys(aim for _, costs in seen for aim in costs))
    if not aims:
        return [one for one, _ in seen]
    weights = rng.dirichlet([1.0] * (1 + len(aims))).tolist()
    scores = [score for one, _ in seen for score in one.best]
    dice = (max(scores, default=1.0), min(scores, default=0.0))
    ends = {aim: _ends([log(costs[aim]) for _, costs in seen if aim in costs]) for aim in aims}
    found = []
    for one, costs in seen:
        shares = [_share(log(costs[aim]), *ends[aim]) if aim in costs else 0.5 for aim in aims]
        best = tuple(
            scalarised_value([_share(score, *dice), *shares], weights) for score in one.best
        )
        found.append(replace(one, best=best))
    return found


def non_dominated(values: Sequence[Sequence[float]], maximised: Sequence[bool]) -> list[bool]:
    """Which of ``values``, a row a trial, are beaten by no other: the Pareto front.

    A row beats another if it is nowhere worse and somewhere better.
    """
    signed = [
        [value if up else -value for value, up in zip(row, maximised, strict=True)]
        for row in values
    ]
    return [not any(_beats(other, row) for other in signed) for row in signed]


def _beats(other: Sequence[float], row: Sequence[float]) -> bool:
    pairs = list(zip(other, row, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values, default=inf), max(values, default=-inf)


def _share(value: float, best: float, worst: float) -> float:
    return 0.0 if best == worst else (value - best) / (worst - best)


def scalarised_value(shares: Sequence[float], weights: Sequence[float]) -> float:
    """1 less the augmented Tchebycheff distance from the best of all aims."""
    parts = [weight * share for weight, share in zip(weights, shares, strict=True)]
    return 1 - (max(parts) + RHO * sum(parts))
