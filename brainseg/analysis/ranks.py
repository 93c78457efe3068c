"""How configurations rank when patients and trainings are drawn again.

Draws come from the model that ``estimate`` fits: the means of all configurations vary together over
patients, with the covariance of patients' means, and each by itself over trainings.

Shapes: C configurations, S seeds, P patients, R draws.
"""

import math
from dataclasses import dataclass

import numpy as np

from brainseg.analysis.estimate import LEVEL, Floats, Trainings, estimate

DRAWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Shares and ranks over the draws, as challengeR shows them (Wiesenfarth et al. 2021)."""

    first_C: Floats  # share of draws in which it is first; ties are shared out
    low_C: Floats  # 95 % of its ranks lie between, counted from 1
    high_C: Floats


def ranks(dice_CSP: Floats, trainings: Trainings, draws: int = DRAWS) -> Ranks:
    """The same scores give the same figures: the random numbers follow from a fixed seed."""
    rng = np.random.default_rng(0)
    mean_CP = dice_CSP.mean(1)
    covariance_CC = np.cov(mean_CP) / trainings.patients
    mean_RC = rng.multivariate_normal(mean_CP.mean(1), covariance_CC, draws, method="eigh")
    error_C = [math.sqrt(estimate(own_SP, trainings).error_training) for own_SP in dice_CSP]
    mean_RC += np.array(error_C) * rng.standard_t(trainings.freedom, mean_RC.shape)
    mean_RC = mean_RC.round(6)  # equal scores are equal in each draw, not but for the last digits
    above_RC = (mean_RC[:, None] > mean_RC[:, :, None]).sum(2)
    equal_RC = (mean_RC[:, None] == mean_RC[:, :, None]).sum(2)
    rank_RC = 1 + above_RC + (equal_RC - 1) / 2
    low_C, high_C = np.quantile(rank_RC, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Ranks(first_C=((above_RC == 0) / equal_RC).mean(0), low_C=low_C, high_C=high_C)
