"""Where the variance of a mean difference comes from: patients, trainings, and the rest."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST_FREEDOM = 3.0  # of the patients' variance, however heavy the tails


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variance components of a mean difference."""

    patient: float  # variance between patients' true differences; of one seed with `rest` in it
    training: float  # between trainings, of what all patients of a fold share
    rest: float  # of one patient in one training, beyond both; 0 with one seed
    seeds: int
    patients: int
    sum_sq_fold_shares: float  # of the folds' shares of patients; 1 without folds
    error_patients: float  # variance of the mean that patients bring, `rest` included
    error_training: float  # and that trainings bring
    freedom_patients: float
    freedom_training: int

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""
        return math.sqrt(self.error_patients + self.error_training)


def components(gap_SP: Floats, fold_P: NDArray[np.int64]) -> Components:
    """Estimate the components from the mean squares of patients, trainings and the rest.

    Args:
        gap_SP: differences, or scores; a row a seed, a column a patient.
        fold_P: the fold that each patient was held out in; all alike without folds.
    """
    seeds, patients = gap_SP.shape
    mean_P = gap_SP.mean(0)
    of_patients = float(mean_P.var(ddof=1))
    share_F = np.bincount(fold_P)[np.unique(fold_P)] / patients
    sum_sq_fold_shares = float((share_F**2).sum())
    rest, training, freedom = _of_trainings(gap_SP, fold_P)
    return Components(
        patient=max(of_patients - rest / seeds, 0.0),
        training=training,
        rest=rest,
        seeds=seeds,
        patients=patients,
        sum_sq_fold_shares=sum_sq_fold_shares,
        error_patients=of_patients / patients,
        error_training=training * sum_sq_fold_shares / seeds,
        freedom_patients=_freedom(mean_P),
        freedom_training=freedom,
    )


def _of_trainings(gap_SP: Floats, fold_P: NDArray[np.int64]) -> tuple[float, float, int]:
    """The rest, the variance between trainings, and the latter's degrees of freedom."""
    seeds, patients = gap_SP.shape
    folds = np.unique(fold_P)
    if seeds == 1:
        return 0.0, 0.0, 1
    size_F = np.array([(fold_P == fold).sum() for fold in folds])
    run_SF = np.stack([gap_SP[:, fold_P == fold].mean(1) for fold in folds], axis=1)
    effect_SF = run_SF - run_SF.mean(0)
    left_SP = gap_SP - gap_SP.mean(0) - effect_SF[:, np.searchsorted(folds, fold_P)]
    free = (seeds - 1) * (patients - len(folds))
    rest = float((left_SP**2).sum()) / free if free else 0.0
    sum_sq_fold_shares = float(((size_F / patients) ** 2).sum())
    of_folds = float((run_SF.var(0, ddof=1) - rest / size_F).mean())
    of_seeds = (float(gap_SP.mean(1).var(ddof=1)) - rest / patients) / sum_sq_fold_shares
    return rest, max(of_folds, of_seeds, 0.0), len(folds) * (seeds - 1)


def _freedom(value_P: Floats) -> float:
    """Degrees of freedom of a sample variance, from the sample's kurtosis.

    The variance of s^2 is sigma^4 (excess / n + 2 / (n - 1)), that of a chi-square with f degrees
    is 2 / f. A kurtosis below the normal's counts as the normal's.
    """
    n = len(value_P)
    off_P = value_P - value_P.mean()
    second = float((off_P**2).mean())
    if n < 4 or second == 0:
        return float(n - 1)
    excess = float((off_P**4).mean()) / second**2 - 3
    excess = ((n + 1) * excess + 6) * (n - 1) / ((n - 2) * (n - 3))  # unbiased if normal
    freedom = 2 / (max(excess, 0.0) / n + 2 / (n - 1))
    return min(max(freedom, FEWEST_FREEDOM), n - 1.0)
