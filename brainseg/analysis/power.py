"""How many more seeds or patients would tell two configurations apart."""

import math
from dataclasses import dataclass

from brainseg.analysis.paired import LEVEL, NORMAL
from brainseg.analysis.variance import Parts

POWER = 0.8  # with which planned seeds or patients would tell a difference
MOST_SEEDS, MOST_PATIENTS = 50, 5000  # beyond, a plan is no plan


@dataclass(frozen=True, kw_only=True)
class Further:
    """How many more would tell a difference, if it is as large as observed; None: cannot."""

    seeds: int | None
    patients: int | None  # scored by the same trainings


def further(own: Parts, difference: float, *, comparisons: int) -> Further:
    """How many more seeds, or patients, would tell ``difference`` from none with a power of 0.8.

    The error must be at most |difference| / (z of the level + z of the power); the level is shared
    out over the ``comparisons``. Patients are raised by z^2 / 2, as their variance is an estimate
    too (Guenther 1981).
    """
    z = NORMAL.inv_cdf(1 - (1 - LEVEL) / 2 / comparisons)
    aim = (difference / (z + NORMAL.inv_cdf(POWER))) ** 2
    by_seed = own.rest / own.patients + own.training * own.clumps
    by_patient = own.patient + own.rest / own.seeds
    seeds = _needed(by_seed, aim - own.patient / own.patients)
    patients = _needed(by_patient, aim - own.error_training) + z**2 / 2
    more_seeds = max(math.ceil(seeds) - own.seeds, 1) if seeds <= MOST_SEEDS else None
    more_patients = (
        max(math.ceil(patients) - own.patients, 1) if patients <= MOST_PATIENTS else None
    )
    return Further(seeds=more_seeds if own.seeds > 1 else None, patients=more_patients)


def _needed(variance: float, room: float) -> float:
    """How many draws bring the variance of their mean down to ``room``."""
    return variance / room if room > 0 else math.inf
