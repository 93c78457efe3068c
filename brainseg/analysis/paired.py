"""Which of several arms is better, how sure that is, and what would make it surer.

Every arm scores the same patients, once with each seed; a patient's score comes from the network
of the fold that held it out. What is compared is the mean over patients of the mean over seeds, of
differences patient by patient.

What varies, and how it is treated:

    patients   Many, and their differences are skewed: resampled with replacement, all arms and
               seeds of a patient together. The deviations are stretched by sqrt(n / (n - 1)), and
               the levels of an interval are Student's in place of the normal's (the expanded
               percentile of Hesterberg 2015), with degrees of freedom that fall as the kurtosis
               grows (n - 1 if it is the normal's), since a few patients then make up the variance.
    training   A seed and a fold make one training, which all patients of the fold share. Two
               seeds cannot be resampled: there are three ways to draw them, and their variance
               comes out half too small. It is estimated instead, by an analysis of variance that
               takes out what single patients add, and enters as Student's t with folds x (seeds -
               1) degrees of freedom. Since the folds' training sets differ, the trainings of one
               seed are taken as independent; if its folds are seen to go the same way, the larger
               variance of whole seeds is used.

What this generalises to: new patients of the same kind, scored by networks trained with new seeds
on these very training sets, each (K - 1) / K of these patients (the k-fold test error of Bayle et
al. 2020). It does not say what other training sets would have given. Those of K folds share most
of their patients, so no estimate of that variance from one cross-validation is unbiased (Bengio and
Grandvalet 2004), and corrections for it are rules of thumb (Nadeau and Bengio 2003); nor does it
hold for more patients to train on. With one seed it speaks of these trained networks alone. A
failure so rare that few patients or none show it is not in any of these figures.

How often the intervals hold the truth, and the test errs: ``benchmarks/coverage.py``.

Shapes: A arms, S seeds, P patients, R replicates.
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.analysis.variance import Floats, Parts, parts

NORMAL = NormalDist()
LEVEL = 0.95  # of intervals; a difference is told at 1 - LEVEL
REPLICATES = 10_000
EXACT = 13  # patients up to which every way to flip signs is gone through, 8192 of them


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The mean, and two intervals: plain percentiles, and bias-corrected and accelerated."""

    mean: float
    low: float
    high: float
    bca_low: float
    bca_high: float

    def within(self, least: float, most: float) -> "Interval":
        """Without what the mean cannot be, as a mean of Dice beyond 0 or 1: no truth is lost."""
        ends = ("low", "high", "bca_low", "bca_high")
        return replace(self, **{end: min(max(getattr(self, end), least), most) for end in ends})


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How arms rank over bootstrap replicates, as challengeR (Wiesenfarth et al. 2021) shows it."""

    first_A: Floats  # share of replicates in which the arm is first; ties are shared out
    rank_low_A: Floats  # 95 % of the replicates' ranks lie between, counted from 1
    rank_high_A: Floats


def resamples(rng: Generator, patients: int, replicates: int = REPLICATES) -> Floats:
    """A row a replicate: each patient's share in a sample drawn with replacement."""
    drawn_RP = rng.multinomial(patients, np.full(patients, 1 / patients), replicates)
    return np.asarray(drawn_RP / patients, np.float64)


def signs(rng: Generator, patients: int, replicates: int = REPLICATES) -> Floats:
    """A row a way to flip patients: all of them while few, then as many random ones."""
    if patients <= EXACT:
        flip_RP = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
    else:
        flip_RP = rng.integers(0, 2, (replicates, patients))
    return np.asarray(1 - 2 * flip_RP, np.float64)


def replicated(gap_SP: Floats, own: Parts, share_RP: Floats, rng: Generator) -> Floats:
    """The mean difference as it might have come out with other patients and other trainings."""
    mean_P = gap_SP.mean(0)
    stretch = math.sqrt(own.patients / (own.patients - 1))
    mean_R = mean_P.mean() + stretch * (share_RP @ (mean_P - mean_P.mean()))
    return np.asarray(mean_R + _noise(own, len(mean_R), rng), np.float64)


def _noise(own: Parts, replicates: int, rng: Generator) -> Floats:
    if not own.error_training:
        return np.zeros(replicates)
    return math.sqrt(own.error_training) * rng.standard_t(own.freedom_training, replicates)


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
    own = parts(gap_SP, fold_P)
    mean_R, mean_P = replicated(gap_SP, own, share_RP, rng), gap_SP.mean(0)
    mean = float(mean_P.mean())
    if not own.error:
        return Interval(mean=mean, low=mean, high=mean, bca_low=mean, bca_high=mean)
    reach = student((1 + level) / 2, own.freedom_patients)
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
    """What the mean difference exceeds with one-sided confidence ``level``."""
    return interval(gap_SP, fold_P, share_RP, rng, level=2 * level - 1).low


def flip_test(gap_SP: Floats, fold_P: NDArray[np.int64], sign_RP: Floats, rng: Generator) -> float:
    """p of the mean difference, two-sided, under no difference: patients' signs are flipped.

    Where trainings vary, each flip gets their noise as well: a flip of patients alone would ask
    about these very networks. Exact for all flips of few patients without such noise; else the
    data count as one of the draws (Phipson and Smyth 2010).
    """
    own, mean_P = parts(gap_SP, fold_P), gap_SP.mean(0)
    flipped_R = sign_RP @ mean_P / len(mean_P)
    noise_R = _noise(own, len(flipped_R), rng)
    rounding = 1e-12  # keeps a flip that gives the same mean from falling below it
    count = int((np.abs(flipped_R + noise_R) >= abs(mean_P.mean()) - rounding).sum())
    if len(mean_P) <= EXACT and not own.error_training:
        return count / len(flipped_R)
    return (count + 1) / (len(flipped_R) + 1)


def holm(p: Floats) -> Floats:
    """p-values adjusted for their number (Holm 1979): those below a level err in it at most."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted


def stability(
    dice_ASP: Floats, fold_P: NDArray[np.int64], share_RP: Floats, rng: Generator
) -> Stability:
    """Ranks of the arms when patients are drawn anew for all arms alike, trainings for each."""
    mean_AR = np.stack(
        [replicated(dice_SP, parts(dice_SP, fold_P), share_RP, rng) for dice_SP in dice_ASP]
    )
    above_AR = np.stack([(mean_AR > own_R).sum(0) for own_R in mean_AR])
    equal_AR = np.stack([(mean_AR == own_R).sum(0) for own_R in mean_AR])
    first_AR = (above_AR == 0) / equal_AR
    rank_AR = 1 + above_AR + (equal_AR - 1) / 2
    low_A, high_A = np.quantile(rank_AR, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return Stability(first_A=first_AR.mean(1), rank_low_A=low_A, rank_high_A=high_A)


def student(level: float, freedom: float) -> float:
    """The quantile of Student's t, for 3 or more degrees of freedom, to four digits (Hill 1970)."""
    if level < 0.5:
        return -student(1 - level, freedom)
    two_sided = 2 * (1 - level)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * two_sided) ** (2 / freedom)
    if y > 0.05 + a:
        x = NORMAL.inv_cdf(two_sided / 2)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = a * y**2
        y = math.expm1(y)
    else:
        y = (
            (1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3)
             + 0.5 / (freedom + 4)) * y - 1
        ) * (freedom + 1) / (freedom + 2) + 1 / y  # fmt: skip
    return math.sqrt(freedom * y)
