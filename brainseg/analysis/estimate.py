"""Mean Dice, or a mean difference of Dice, with its interval: one estimator for every comparison.

Every configuration scores the same patients once with each seed, by the network of the fold that
held the patient out. What is estimated is the mean over patients of the mean over seeds. A score is
modelled as

    y[s, i] = mean + patient[i] + training[s, fold of i under s] + rest[s, i]

and the variance of the mean has two parts:

    patients   the variance between patients' means over seeds, divided by the number of patients.
               Its degrees of freedom fall as the kurtosis grows, since a few patients then make up
               the variance.
    training   the variance between trainings, times the sum of their squared shares of all scores.
               A training is a seed and a fold: all patients of the fold share its luck. Where the
               folds are cut anew for each seed, it includes what another training set would give.
               It comes from two moments, see ``between_trainings``; negative ones count as 0.
               ``best_set.pairwise`` draws it towards the mean over all pairs, since it has few
               degrees of freedom of its own.

The interval is Student's with the degrees of freedom of Satterthwaite (1946) for the sum of both.
For a balanced design this is the analysis of variance, and its estimates are those of REML as long
as no part is negative (Searle, Casella and McCulloch 1992).

It holds for new patients of the same kind, scored by networks trained with new seeds and, where the
folds are cut anew, on other training sets of the same size from the same source. How often the
intervals cover the true value: ``benchmarks/coverage.py``.

Shapes: S seeds, P patients, T trainings, A all scores (S x P), N scores beside each other.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
LEVEL = 0.95
FEWEST_FREEDOM = 3.0  # of the patients' variance, however heavy the tails


@dataclass(frozen=True, eq=False)
class Trainings:
    """Which training scored which patient: ``fold_SP`` holds each patient's fold under each seed.

    Without folds every patient has the same fold under all seeds.
    """

    fold_SP: NDArray[np.int64]

    @property
    def seeds(self) -> int:
        return len(self.fold_SP)

    @property
    def patients(self) -> int:
        return int(self.fold_SP.shape[1])

    @cached_property
    def training_SP(self) -> NDArray[np.int64]:
        """The number of the training that gave each score, counted from 0."""
        labels_SP = self.fold_SP + np.arange(self.seeds)[:, None] * (self.fold_SP.max() + 1)
        return np.unique(labels_SP, return_inverse=True)[1].reshape(labels_SP.shape)

    @cached_property
    def share_T(self) -> Floats:
        """Each training's share of all scores."""
        return np.bincount(self.training_SP.ravel()) / self.training_SP.size

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance between trainings: folds x (seeds - 1).

        Of one seed folds - 1: its folds hold different patients, which are alike but for chance.
        """
        trainings = len(self.share_T)
        return trainings - (1 if self.seeds == 1 else trainings // self.seeds)

    @cached_property
    def traces(self) -> tuple[float, float]:
        """Traces of M and of M^2, where M = Z'CZ, see ``between_trainings``."""
        size_T = self.share_T * self.training_SP.size
        if self.seeds == 1:
            m_TT = np.diag(size_T) - np.outer(size_T, self.share_T)
        else:
            seen_PT = np.zeros((self.patients, len(size_T)))
            np.add.at(seen_PT, (np.arange(self.patients), self.training_SP), 1.0)
            m_TT = np.diag(size_T) - seen_PT.T @ seen_PT / self.seeds
        return float(np.trace(m_TT)), float((m_TT**2).sum())

    def left(self, value_NSP: Floats) -> tuple[Floats, int]:
        """Scores less what C takes away, and the degrees of freedom that remain."""
        if self.seeds == 1:
            return value_NSP - value_NSP.mean(2, keepdims=True), self.patients - 1
        return value_NSP - value_NSP.mean(1, keepdims=True), self.patients * (self.seeds - 1)

    @cached_property
    def of_training_AT(self) -> Floats:
        """Z, the indicators of the training that gave each of all scores."""
        return np.eye(len(self.share_T))[self.training_SP.ravel()]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with what its uncertainty consists of.

    Attributes:
        count: of what the mean is over, patients.
        error_patients: variance of the mean that patients bring, the rest included.
        error_training: variance of the mean that trainings bring.
        training: variance between trainings, of what all patients of one share; at least 0.
        rest: variance of one score beyond patient and training; at least 0.
    """

    mean: float
    count: int
    error_patients: float
    error_training: float
    freedom_patients: float
    freedom_training: int
    training: float
    rest: float

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.error_patients + self.error_training)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of the error; infinite where it is 0."""
        parts = (
            (self.error_patients, self.freedom_patients),
            (self.error_training, self.freedom_training),
        )
        whole = self.error_patients + self.error_training
        weight = sum((part / whole) ** 2 / freedom for part, freedom in parts if part)
        return 1 / weight if weight else math.inf

    def reach(self, tail: float) -> float:
        """How far a bound lies from the mean that is wrong with a probability of ``tail``."""
        return float(special.stdtrit(self.freedom, 1 - tail)) * self.error if self.error else 0.0

    def of_difference(self, level: float = LEVEL) -> "Interval":
        """Two-sided; cut to -1 to 1, between which any difference of Dice lies."""
        reach = self.reach((1 - level) / 2)
        return Interval.of_difference(self.mean, self.mean - reach, self.mean + reach)

    def of_dice(self, level: float = LEVEL) -> "Interval":
        """Two-sided, on the scale of the logistic function (delta method), so within 0 to 1.

        Dice has a long tail to 0, and there the interval reaches further than above the mean. Few
        patients may show nothing of the tail: to their variance that of one more patient is added,
        the largest that a Dice with this mean can have. Without it the interval of 20 patients
        covers 90 to 92 % (docs/log.md, 2026-11-30).
        """
        largest = self.mean * (1 - self.mean)  # of scores that are 0 or 1; also the slope
        if largest <= 0:  # all scores are 0, or all are 1
            return Interval(mean=self.mean, low=self.mean, high=self.mean)
        wider = replace(
            self,
            error_patients=((self.count - 1) * self.error_patients + largest / self.count)
            / self.count,
            freedom_patients=self.freedom_patients + 1,
        )
        reach = wider.reach((1 - level) / 2) / largest
        low, high = special.expit(special.logit(self.mean) + np.array([-reach, reach]))
        return Interval(mean=self.mean, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and the interval that holds the true one with the stated confidence."""

    mean: float
    low: float
    high: float

    @classmethod
    def of_difference(cls, mean: float, low: float, high: float) -> "Interval":
        """Cut to what a difference of Dice can be, which loses no true value."""
        return cls(mean=mean, low=max(low, -1.0), high=min(high, 1.0))


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What other configurations show of the variance between trainings, and how much it counts."""

    training: float = 0.0
    freedom: int = 0  # 0: nothing is known


UNKNOWN = Prior()


def estimate(value_SP: Floats, trainings: Trainings, prior: Prior = UNKNOWN) -> Estimate:
    """The mean of scores, or of differences of scores, and its error.

    Args:
        value_SP: a row a seed, a column a patient.
        prior: its variance and the scores' own are averaged, weighted by their degrees of freedom.
    """
    return estimates(value_SP[None], trainings, prior)[0]


def estimates(value_NSP: Floats, trainings: Trainings, prior: Prior = UNKNOWN) -> list[Estimate]:
    """The same of N scores of the same trainings, in one go."""
    mean_NP = value_NSP.mean(1)
    training_N, rest_N = between_trainings(value_NSP, trainings)
    freedom = trainings.freedom + prior.freedom
    if freedom:
        training_N = trainings.freedom * training_N + prior.freedom * prior.training
        training_N = np.maximum(training_N / freedom, 0.0)
    columns = (
        mean_NP.mean(1),
        mean_NP.var(1, ddof=1) / trainings.patients,
        _freedom(mean_NP),
        training_N,
        rest_N,
    )
    return [
        Estimate(
            mean=mean,
            count=trainings.patients,
            error_patients=error_patients,
            error_training=training * float((trainings.share_T**2).sum()),
            freedom_patients=freedom_patients,
            freedom_training=freedom,
            training=training,
            rest=rest,
        )
        for mean, error_patients, freedom_patients, training, rest in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]


def between_trainings(value_NSP: Floats, trainings: Trainings) -> tuple[Floats, Floats]:
    """The variances between trainings, which may come out below 0, and those of the rest.

    With ``left`` the scores less their patient's mean over seeds, Z the indicators of the training
    that gave each score, and C the projection that takes patients' means away,

        E |Z' left|^2 = tr(M^2) training + tr(M)     rest
        E |left|^2    = tr(M)   training + P (S - 1) rest        M = Z'CZ

    Of one seed C takes the mean of all scores away instead, and the rest is what patients bring.
    """
    left_NSP, free = trainings.left(value_NSP)
    left_NA = left_NSP.reshape(len(left_NSP), -1)
    trace, trace_of_square = trainings.traces
    of_sums_N = ((left_NA @ trainings.of_training_AT) ** 2).sum(1)
    of_all_N = (left_NA**2).sum(1)
    scale = trace_of_square * free - trace**2
    if scale <= 0:  # one training, or one patient a training: the two cannot be told apart
        return np.zeros_like(of_all_N), of_all_N / free
    training_N = (of_sums_N * free - of_all_N * trace) / scale
    rest_N = (of_all_N - trace * np.maximum(training_N, 0.0)) / free
    return training_N, np.maximum(rest_N, 0.0)


def _freedom(mean_NP: Floats) -> Floats:
    """Degrees of freedom of sample variances, from the samples' kurtosis.

    The variance of s^2 is sigma^4 (excess / n + 2 / (n - 1)), that of a chi-square with f degrees
    is 2 / f. A kurtosis below the normal's counts as the normal's.
    """
    n = mean_NP.shape[1]
    off_NP = mean_NP - mean_NP.mean(1, keepdims=True)
    second_N = (off_NP**2).mean(1)
    if n < 4:
        return np.full(len(mean_NP), n - 1.0)
    scale_N = np.sqrt(np.where(second_N > 0, second_N, 1.0))
    excess_N = np.square(np.square(off_NP / scale_N[:, None])).mean(1) - 3
    excess_N = ((n + 1) * excess_N + 6) * (n - 1) / ((n - 2) * (n - 3))  # unbiased if normal
    freedom_N = 2 / (np.maximum(excess_N, 0.0) / n + 2 / (n - 1))
    freedom_N = np.maximum(freedom_N, FEWEST_FREEDOM)
    return np.asarray(np.minimum(freedom_N, n - 1.0), np.float64)
