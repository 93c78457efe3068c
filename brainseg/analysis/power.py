"""How many more patients or seeds would tell the leader from the second of the set.

The larger study is simulated from the model that ``estimate`` fits, the present one being a part of
it. Three things keep the promise from being too good:

    the difference   is shrunk: true differences are normal around 0, with the variance by which the
                     observed ones of all pairs exceed what their errors bring (empirical Bayes, as
                     in James and Stein 1961), so that the luck of the first is taken away.
    the variances    are drawn, by scaled inverse chi-squares with their degrees of freedom; that
                     between trainings as a difference of two mean squares, so that it may well be
                     there where it is estimated as 0.
    the test         is that of the set, with the variances as the larger study estimates them.

What is promised is the chance over all of these (O'Hagan, Stevens and Campbell 2005 call it
assurance). More seeds are trained on the same patients, whose part in the difference stays. With
more patients all trainings are new, and each sees as many patients as now.

Shapes: R draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.random import Generator
from scipy import special

from brainseg.analysis.estimate import Estimate, Floats, Trainings

CHANCE = 0.8
MOST_SEEDS, MOST_PATIENTS = 50, 5000  # of the larger study; more are not realistic
DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Further:
    """How many more of each, the other as now, tell the leader from ``rival`` with 80 %.

    None: no realistic number does.
    """

    rival: str
    patients: int | None
    seeds: int | None


def beyond_chance(differences: Sequence[Sequence[Estimate]]) -> float:
    """The mean square of all pairs' differences over that of their errors; 1 where none differs."""
    gaps = [gap for n, row in enumerate(differences) for gap in row[:n]]
    error = fmean(gap.error**2 for gap in gaps)
    return max(fmean(gap.mean**2 for gap in gaps) / error, 1.0) if error else 1.0


def further(
    rival: str, gap: Estimate, trainings: Trainings, *, tail: float, spread: float
) -> Further | None:
    """What to promise about a difference of the leader that the set does not tell; always the same.

    Args:
        gap: the leader's Dice less the rival's.
        tail: the one-sided level at which one configuration beats another in the set.
        spread: of all configurations, see ``beyond_chance``.
    """
    if gap.mean <= 0 or not gap.error or not trainings.freedom:
        return None
    present = _Present(gap, trainings, spread)
    patients = _fewest(lambda n: present.with_patients(n, tail), trainings.patients, MOST_PATIENTS)
    seeds = None
    if trainings.seeds > 1:
        seeds = _fewest(lambda s: present.with_seeds(s, tail), trainings.seeds, MOST_SEEDS)
    if patients is None and seeds is None:
        return None
    return Further(rival=rival, patients=patients, seeds=seeds)


def _fewest(chance: Callable[[int], float], now: int, most: int) -> int | None:
    """How many more give the chance, by halving, since more never give less."""
    if most <= now or chance(most) < CHANCE:
        return None
    few, enough = now, most
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if chance(middle) >= CHANCE else (middle, enough)
    return enough - now


class _Present:
    """The present study: what is seen, and draws of the true variances behind it."""

    def __init__(self, gap: Estimate, trainings: Trainings, spread: float) -> None:
        self.gap, self.patients, self.seeds = gap, trainings.patients, trainings.seeds
        rng = np.random.default_rng(0)
        self.patient_R = gap.error_patients / _chi_square(rng, gap.freedom_patients)
        trace, trace_of_square = trainings.traces
        self.scores = trace_of_square / trace  # of a training, as its mean square counts them
        self.shares = float((trainings.share_T**2).sum())
        self.square = self.scores * gap.training + gap.rest
        square_R = self.square / _chi_square(rng, gap.freedom_training)
        self.training_R = self._between(square_R, self.scores)
        self.variance_R = self.training_R / self.shares
        # Of the patients' part of the error, what new trainings change.
        self.rest = min(gap.rest / self.patients / self.seeds, gap.error_patients)
        self.lasting_R = np.maximum(self.patient_R - self.rest, 0.0)
        self.passing_R = self.training_R + self.rest
        error_R = self.lasting_R + self.passing_R
        self.spread_R = spread * error_R  # of observed differences
        self.true_R = self.spread_R - error_R  # of true ones
        self.after = rng.bit_generator.state

    def _rng(self) -> Generator:
        """The same draws for each size: what is found by halving then has no jumps."""
        rng = np.random.default_rng(0)
        rng.bit_generator.state = self.after
        return rng

    def with_seeds(self, seeds: int, tail: float) -> float:
        """The chance that ``seeds`` tell, on the same patients, the present ones among them."""
        rng, share = self._rng(), self.seeds / seeds
        stays_R = self.true_R + self.lasting_R
        mean_R = self.gap.mean * stays_R / self.spread_R
        spread_R = np.sqrt(stays_R * self.passing_R / self.spread_R)
        rest_R = mean_R + spread_R * rng.standard_normal(DRAWS)
        rest_R += np.sqrt(self.passing_R * share / (1 - share)) * rng.standard_normal(DRAWS)
        freedom = self.gap.freedom_training * (seeds - 1) / (self.seeds - 1)
        square_R = self._pooled(
            rng,
            self.square,
            self.scores * self.variance_R + self.gap.rest,
            self.gap.freedom_training,
            freedom,
        )
        training_R = self._between(square_R, self.scores)
        patients = np.full(DRAWS, self.gap.error_patients - self.rest * (1 - share))
        return self._told(
            share * self.gap.mean + (1 - share) * rest_R,
            (patients, self.gap.freedom_patients),
            (training_R * share, freedom),
            tail,
        )

    def with_patients(self, patients: int, tail: float) -> float:
        """The chance that ``patients`` tell, the present ones among them, all trained anew."""
        rng, share = self._rng(), self.patients / patients
        common_R = self.true_R + share * self.lasting_R
        spread_R = self.true_R + share**2 * self.lasting_R - common_R**2 / self.spread_R
        new_R = share * (1 - share) * self.lasting_R + share * self.rest + self.training_R
        spread_R = np.sqrt(np.maximum(spread_R, 0.0) + new_R)
        mean_R = self.gap.mean * common_R / self.spread_R + spread_R * rng.standard_normal(DRAWS)
        freedom = self.gap.freedom_patients * (patients - 1) / (self.patients - 1)
        patients_R = self._pooled(
            rng, self.gap.error_patients, self.patient_R, self.gap.freedom_patients, freedom
        )
        scores = self.scores / share
        square_R = scores * self.variance_R + self.gap.rest
        square_R *= _chi_square(rng, self.gap.freedom_training)
        return self._told(
            mean_R,
            (share * patients_R, freedom),
            (self._between(square_R, scores), self.gap.freedom_training),
            tail,
        )

    def _between(self, square_R: Floats, scores: float) -> Floats:
        """The error that trainings bring, as estimated from their mean squares."""
        return np.maximum(square_R - self.gap.rest, 0.0) / scores * self.shares

    def _pooled(
        self, rng: Generator, seen: float, true_R: Floats, before: float, after: float
    ) -> Floats:
        """A variance as the larger study estimates it: from what was seen, and from the new."""
        new = after - before
        return (before * seen + new * true_R * _chi_square(rng, new)) / after

    def _told(
        self,
        mean_R: Floats,
        patients: tuple[Floats, float],
        training: tuple[Floats, float],
        tail: float,
    ) -> float:
        """The share of draws in which the leader beats the rival by the set's test."""
        error_R = patients[0] + training[0]
        weight_R = (patients[0] / error_R) ** 2 / patients[1]
        weight_R += (training[0] / error_R) ** 2 / training[1]
        reach_R = special.stdtrit(1 / weight_R, 1 - tail) * np.sqrt(error_R)
        return float((mean_R > reach_R).mean())


def _chi_square(rng: Generator, freedom: float) -> Floats:
    """Divided by its degrees of freedom, so 1 on average."""
    return rng.chisquare(freedom, DRAWS) / freedom
