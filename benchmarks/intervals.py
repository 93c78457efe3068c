"""How often does a 95 % interval cover the true difference between two models?

Run    python -m benchmarks.intervals
Gives  for studies of a few patients and seeds: the share of simulated studies whose interval covers
       the true difference, by ``curves.student_interval`` and by a percentile bootstrap that
       resamples patients and seeds. A minute on one core.

A difference of Dice is drawn as one effect of the patient (standard deviation 0.1), one of the
seed (0.01 or 0.05) and the rest (0.05), all normal, around a true difference of 0.02. With
one seed the truth is that seed's own difference: nothing can be known about others.
"""

import numpy as np
from numpy.random import Generator

from brainseg.analysis.curves import student_interval

TRUTH, STUDIES, RESAMPLES = 0.02, 1000, 400


def study(rng: Generator, seeds: int, patients: int, seed_sd: float) -> tuple[np.ndarray, float]:
    """Differences, a row a seed and a column a patient, and the difference that is true."""
    of_seeds = seed_sd * rng.standard_normal((seeds, 1))
    of_patients = 0.1 * rng.standard_normal(patients)
    gaps = TRUTH + of_seeds + of_patients + 0.05 * rng.standard_normal((seeds, patients))
    return gaps, TRUTH + of_seeds.item() if seeds == 1 else TRUTH


def bootstrap(rng: Generator, gaps: np.ndarray) -> tuple[float, float]:
    seeds, patients = gaps.shape
    rows = rng.integers(seeds, size=(RESAMPLES, seeds, 1))
    columns = rng.integers(patients, size=(RESAMPLES, 1, patients))
    low, high = np.quantile(gaps[rows, columns].mean((1, 2)), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    rng = np.random.default_rng(0)
    print("patients  seeds  sd of seeds   interval  bootstrap")
    for patients in (6, 20, 100):
        for seeds in (1, 2, 3, 5):
            for seed_sd in (0.01, 0.05):
                held = np.zeros(2)
                for _ in range(STUDIES):
                    gaps, truth = study(rng, seeds, patients, seed_sd)
                    intervals = student_interval(gaps.tolist()), bootstrap(rng, gaps)
                    held += [low <= truth <= high for low, high in intervals]
                ours, theirs = 100 * held / STUDIES
                print(f"{patients:8d} {seeds:6d} {seed_sd:12.2f} {ours:9.1f} % {theirs:8.1f} %")


if __name__ == "__main__":
    main()
