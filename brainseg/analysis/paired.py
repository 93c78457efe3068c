"""Differences between configurations, paired by patient: intervals, tests, ranks.

Every configuration scores the same patients, once with each seed; a patient's score comes from the
network of the fold that held it out. What is compared is the mean over patients of the mean over
seeds, of differences patient by patient.

What varies, and how it is treated:

    patients   Many, and their differences are skewed: resampled with replacement, all
               configurations and seeds of a patient together. The deviations are stretched by
               sqrt(n / (n - 1)), and the levels of an interval are Student's instead of the
               normal's (the expanded percentile of Hesterberg 2015), with degrees of freedom that
               fall as the kurtosis grows (n - 1 if it is the normal's), since a few patients then
               make up the variance.
    training   A seed and a fold make one training, which all patients of the fold share. Two
               seeds cannot be resampled: there are three ways to draw them, and the variance
               comes out at half of what it is. It is estimated instead, by an analysis of variance
               that subtracts what single patients add, and enters as Student's t with folds x
               (seeds - 1) degrees of freedom. Since the folds' training sets differ, the trainings
               of one seed count as independent; where the folds of a seed err in the same
               direction, the larger variance between whole seeds is used.

What this generalises to: new patients of the same kind, scored by networks trained with new seeds
on these very training sets, each (K - 1) / K of these patients (the k-fold test error of Bayle et
al. 2020). It does not say what other training sets would have given. Those of K folds share most
of their patients, so no estimate of that variance from one cross-validation is unbiased (Bengio and
Grandvalet 2004), and corrections for it are rules of thumb (Nadeau and Bengio 2003). Nor does it
say what more patients to train on would give. With one seed it covers these trained networks only.
A failure so rare that few patients or none show it is not in any of these figures.

How often the intervals cover the true difference, and how often the test is wrong:
``benchmarks/coverage.py``. Student's quantiles are those of ``scipy.stats.t``.

Shapes: C configurations, S seeds, P patients, R replicates.
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

from brainseg.analysis.variance import Components, Floats, components

NORMAL = NormalDist()
LEVEL = 0.95  # of intervals; p below 1 - LEVEL is significant
REPLICATES = 10_000
EXACT = 13  # patients up to which every way to flip signs is tried, 8192 of them
# Five patients that all differ in the same direction do so by chance in 1 of 16 cases, above 5 %.
FEWEST_PATIENTS = 6


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The mean, and two intervals: plain percentiles, and bias-corrected and accelerated."""

    mean: float
    low: float
    high: float
    bca_low: float
    bca_high: float

    def within(self, least: float, most: float) -> "Interval":
        """Cut to the values that the mean can have, as 0 to 1 for Dice: no true value is lost."""
        ends = ("low", "high", "bca_low", "bca_high")
        return replace(self, **{end: min(max(getattr(self, end), least), most) for end in ends})


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How configurations rank over bootstrap replicates, as in challengeR (Wiesenfarth 2021)."""

    first_C: Floats  # share of replicates in which it is first; ties are shared out
    rank_low_C: Floats  # 95 % of the replicates' ranks lie between, counted from 1
    rank_high_C: Floats


def resamples(rng: Generator, patients: int, replicates: int = REPLICATES) -> Floats:
    """A row a replicate: each patient's share in a sample drawn with replacement."""
    drawn_RP = rng.multinomial(patients, np.full(patients, 1 / patients), replicates)
    return np.asarray(drawn_RP / patients, np.float64)


def signs(rng: Generator, patients: int, replicates: int = REPLICATES) -> Floats:
    """A row a way to flip patients' signs: every way for few patients, else random ones."""
    if patients <= EXACT:
        flip_RP = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
    else:
        flip_RP = rng.integers(0, 2, (replicates, patients))
    return np.asarray(1 - 2 * flip_RP, np.float64)


def replicated(gap_SP: Floats, variances: Components, share_RP: Floats, rng: Generator) -> Floats:
    """The mean difference as it might have come out with other patients and other trainings."""
    mean_P = gap_SP.mean(0)
    stretch = math.sqrt(variances.patients / (variances.patients - 1))
    mean_R = mean_P.mean() + stretch * (share_RP @ (mean_P - mean_P.mean()))
    return np.asarray(mean_R + _noise(variances, len(mean_R), rng), np.float64)


def _noise(variances: Components, replicates: int, rng: Generator) -> Floats:
    if not variances.error_training:
        return np.zeros(replicates)
    return math.sqrt(variances.error_training) * rng.standard_t(
        variances.freedom_training, replicates
    )


def interval(
    gap_SP: Floats,
    fold_P: NDArray[np.int64],
    share_RP: Floats,
    rng: Generator,
    *,
    level: float = LEVEL,
) -> Interval:
    """Two-sided intervals of the mean difference.

    BCa is that of Efron (1987), see DiCiccio and Efron (1996); its acceleration comes from leaving
    out a patient at a time. Both are taken at the expanded levels, see the top of the file.
    """
    variances = components(gap_SP, fold_P)
    mean_R, mean_P = replicated(gap_SP, variances, share_RP, rng), gap_SP.mean(0)
    mean = float(mean_P.mean())
    if not variances.error:
        return Interval(mean=mean, low=mean, high=mean, bca_low=mean, bca_high=mean)
    reach = float(stats.t.ppf((1 + level) / 2, variances.freedom_patients))
    low, high = np.quantile(mean_R, [NORMAL.cdf(-reach), NORMAL.cdf(reach)])
    bca_low, bca_high = np.quantile(mean_R, bca_levels(mean_R, mean_P, (-reach, reach)))
    return Interval(mean=mean, low=low, high=high, bca_low=bca_low, bca_high=bca_high)


def bca_levels(mean_R: Floats, value_P: Floats, reaches: tuple[float, ...]) -> list[float]:
    """The levels at which BCa reads the replicates of a mean, for normal quantiles ``reaches``."""
    mean = value_P.mean()
    below = float((mean_R < mean).mean() + (mean_R <= mean).mean()) / 2
    edge = 1 / len(mean_R)
    bias = NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    pull_P = value_P - mean  # of a patient on the mean; leaving it out moves it the other way
    spread = float((pull_P**2).sum())
    acceleration = float((pull_P**3).sum()) / (6 * spread**1.5) if spread else 0.0
    levels = []
    for reach in reaches:
        room = 1 - acceleration * (bias + reach)
        # Past the pole (at a reach of 1 / acceleration) the formula turns around.
        shifted = bias + (bias + reach) / room if room > 0 else math.copysign(math.inf, reach)
        levels.append(NORMAL.cdf(shifted))
    return levels


def lower_bound(
    gap_SP: Floats, fold_P: NDArray[np.int64], share_RP: Floats, rng: Generator, *, level: float
) -> float:
    """The one-sided lower bound of the mean difference at confidence ``level``."""
    return interval(gap_SP, fold_P, share_RP, rng, level=2 * level - 1).low


def flip_test(gap_SP: Floats, fold_P: NDArray[np.int64], sign_RP: Floats, rng: Generator) -> float:
    """Two-sided p of the mean difference, by flipping the signs of patients' differences.

    Where trainings vary, each flip also gets their noise: a flip of patients alone would test
    these trained networks only. Exact where all flips are tried without such noise; else the data
    count as one of the draws (Phipson and Smyth 2010).
    """
    variances, mean_P = components(gap_SP, fold_P), gap_SP.mean(0)
    flipped_R = sign_RP @ mean_P / len(mean_P)
    noise_R = _noise(variances, len(flipped_R), rng)
    rounding = 1e-12  # keeps a flip that gives the same mean from falling below it
    count = int((np.abs(flipped_R + noise_R) >= abs(mean_P.mean()) - rounding).sum())
    if len(mean_P) <= EXACT and not variances.error_training:
        return count / len(flipped_R)
    return (count + 1) / (len(flipped_R) + 1)


def holm(p: Floats) -> Floats:
    """p-values adjusted for their number (Holm 1979): the level holds for all of them together."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def stability(
    dice_CSP: Floats, fold_P: NDArray[np.int64], share_RP: Floats, rng: Generator
) -> Stability:
    """Ranks when the same patients are drawn again for all configurations, trainings for each."""
    mean_CR = np.stack(
        [replicated(dice_SP, components(dice_SP, fold_P), share_RP, rng) for dice_SP in dice_CSP]
    )
    above_CR = np.stack([(mean_CR > own_R).sum(0) for own_R in mean_CR])
    equal_CR = np.stack([(mean_CR == own_R).sum(0) for own_R in mean_CR])
    first_CR = (above_CR == 0) / equal_CR
    rank_CR = 1 + above_CR + (equal_CR - 1) / 2
    low_C, high_C = np.quantile(rank_CR, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return Stability(first_C=first_CR.mean(1), rank_low_C=low_C, rank_high_C=high_C)
