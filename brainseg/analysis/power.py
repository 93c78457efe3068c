"""How many more seeds or patients would make a difference significant."""

import math
from dataclasses import dataclass

from brainseg.analysis.paired import LEVEL, NORMAL
from brainseg.analysis.variance import Components

POWER = 0.8  # chance that a study of the planned size finds the difference significant
MOST_SEEDS, MOST_PATIENTS = 50, 5000  # more than these are not realistic


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """How many more would make a difference as large as the observed one significant.

    None: no realistic number would.
    """

    seeds: int | None
    patients: int | None  # scored by the same trainings


def more_needed(variances: Components, difference: float, *, comparisons: int) -> SampleSize:
    """How many more seeds, or patients, find ``difference`` significant with a power of 0.8.

    The standard error must be at most |difference| / (z of the level + z of the power); the level
    is divided by the ``comparisons``. z^2 / 2 patients are added, as their variance is an estimate
    too (Guenther 1981).
    """
    z = NORMAL.inv_cdf(1 - (1 - LEVEL) / 2 / comparisons)
    aim = (difference / (z + NORMAL.inv_cdf(POWER))) ** 2
    by_seed = (
        variances.rest / variances.patients + variances.training * variances.sum_sq_fold_shares
    )
    by_patient = variances.patient + variances.rest / variances.seeds
    seeds = _draws(by_seed, aim - variances.patient / variances.patients)
    patients = _draws(by_patient, aim - variances.error_training) + z**2 / 2
    more_seeds = max(math.ceil(seeds) - variances.seeds, 1) if seeds <= MOST_SEEDS else None
    more_patients = (
        max(math.ceil(patients) - variances.patients, 1) if patients <= MOST_PATIENTS else None
    )
    return SampleSize(seeds=more_seeds if variances.seeds > 1 else None, patients=more_patients)


def _draws(variance: float, aim: float) -> float:
    """How many draws bring the variance of their mean down to ``aim``."""
    return variance / aim if aim > 0 else math.inf
