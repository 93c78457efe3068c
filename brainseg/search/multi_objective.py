"""Several objectives at once: Dice against costs, and which trials are Pareto-optimal.

A search with several objectives draws a new random weighting of them for each proposal, so that
its trials spread along the Pareto front (ParEGO).

Source: Knowles (2006), "ParEGO", equations 2 and 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, log

from numpy.random import Generator

from brainseg.search.observations import Observation

RHO = 0.05  # weight of the sum beside the worst objective, Knowles' value
ObjectiveCosts = Mapping[str, float]  # of a whole training, by objective


def scalarise(
    observed: Sequence[tuple[Observation, ObjectiveCosts]], rng: Generator
) -> list[Observation]:
    """``observed``, each Dice replaced by its value under one random weighting of all objectives.

    Dice and the logarithms of costs are scaled to 0 at the best observed and 1 at the worst.
    Without costs, the trials are returned as they are.
    """
    names = list(dict.fromkeys(name for _, costs in observed for name in costs))
    if not names:
        return [trial for trial, _ in observed]
    weights = rng.dirichlet([1.0] * (1 + len(names))).tolist()
    scores = [score for trial, _ in observed for score in trial.best]
    dice = (max(scores, default=1.0), min(scores, default=0.0))
    ends = {
        name: _ends([log(costs[name]) for _, costs in observed if name in costs]) for name in names
    }
    scalarised = []
    for trial, costs in observed:
        shares = [_share(log(costs[name]), *ends[name]) if name in costs else 0.5 for name in names]
        best = tuple(
            scalarised_value([_share(score, *dice), *shares], weights) for score in trial.best
        )
        scalarised.append(replace(trial, best=best))
    return scalarised


def non_dominated(values: Sequence[Sequence[float]], maximised: Sequence[bool]) -> list[bool]:
    """Which of ``values``, a row a trial, no other dominates: the Pareto front.

    A row dominates another if it is nowhere worse and somewhere better.
    """
    signed = [
        [value if up else -value for value, up in zip(row, maximised, strict=True)]
        for row in values
    ]
    return [not any(_dominates(other, row) for other in signed) for row in signed]


def _dominates(other: Sequence[float], row: Sequence[float]) -> bool:
    pairs = list(zip(other, row, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values, default=inf), max(values, default=-inf)


def _share(value: float, best: float, worst: float) -> float:
    return 0.0 if best == worst else (value - best) / (worst - best)


def scalarised_value(shares: Sequence[float], weights: Sequence[float]) -> float:
    """1 less the augmented Tchebycheff distance from the best of all objectives."""
    parts = [weight * share for weight, share in zip(weights, shares, strict=True)]
    return 1 - (max(parts) + RHO * sum(parts))
