"""How often do the comparison's 95 % intervals cover the true difference, and its tests err?

Run    python -m benchmarks.coverage [STUDIES]          (default 1000: four minutes of one core)
Gives  for 20, 50 and 110 patients and 1, 2 and 5 seeds, in percent of the simulated studies whose
       interval covers the true difference: percentiles and BCa of ``paired.interval``, Student's of
       ``curves.student_interval``, and the plain percentile bootstrap of patients and seeds; and in
       which the sign-flip test is significant where there is no difference. Then, for 8 equal
       configurations: how often any pair is significant, after Holm over all pairs and after Holm
       over those with the leader alone; and, where 7 of them are worse by 0.02, how often one is
       claimed to be "not worse by more than 0.02". Last, intervals of one configuration's own mean
       Dice, and of a difference that only a rare failure makes: where they do not cover it.

A patient's Dice is drawn near 0.9, with a tail to 0 (15 % are hard). Configurations fail on the
same patients and each on some others, one of two on more of them, so that differences are skewed
with heavy tails; Dice is cut off at 0 and 1. `sd`: standard deviations, as drawn, of patients'
differences and of trainings; that of the rest is 0.05. Three designs: 5 folds with a training for
each seed and fold; no folds; 5 folds in which a seed acts alike in every fold, which ``paired``
does not assume. With one seed, the true difference is that of these very trainings.
"""

import sys
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from brainseg.analysis import curves, paired

REST, RESAMPLES, CONFIGURATIONS, MARGIN = 0.05, 2000, 8, 0.02


@dataclass(frozen=True, kw_only=True)
class Design:
    folds: int
    patient_sd: float
    training_sd: float
    alike: bool = False  # a seed's effect is the same in every fold

    def __str__(self) -> str:
        folds = f"{self.folds} folds" if self.folds > 1 else "no folds"
        alike = ", seeds alike" if self.alike else ""
        return f"{folds}{alike}, sd {self.patient_sd:.2f} / {self.training_sd:.3f}"


DESIGNS = (
    Design(folds=5, patient_sd=0.05, training_sd=0.005),
    Design(folds=5, patient_sd=0.05, training_sd=0.02),
    Design(folds=5, patient_sd=0.15, training_sd=0.005),
    Design(folds=5, patient_sd=0.15, training_sd=0.02),
    Design(folds=1, patient_sd=0.05, training_sd=0.005),
    Design(folds=1, patient_sd=0.1, training_sd=0.02),
    Design(folds=5, patient_sd=0.05, training_sd=0.02, alike=True),
)


def scores(
    rng: Generator, design: Design, shares: tuple[float, ...], seeds: int, patients: int
) -> NDArray[np.float64]:
    """Dice of configurations, C,S,P; ``shares`` say how far the patients of each stray."""
    count = len(shares)
    hard_P = rng.random(patients) < 0.15
    base_P = np.where(hard_P, rng.uniform(0.1, 0.8, patients), rng.beta(14, 1.8, patients))
    missed_CP = (2 - rng.gamma(2, 1, (count, patients))) / np.sqrt(2)
    own_CP = design.patient_sd * np.array(shares)[:, None] * missed_CP
    own_CP *= np.where(hard_P, 2.2, 0.62)
    spread = design.training_sd * (seeds > 1) / np.sqrt(2)
    run_CSF = spread * rng.standard_normal((count, seeds, 1 if design.alike else design.folds))
    run_CSF = np.broadcast_to(run_CSF, (count, seeds, design.folds))
    rest_CSP = REST / np.sqrt(2) * rng.standard_normal((count, seeds, patients))
    run_CSP = run_CSF[:, :, np.arange(patients) % design.folds]
    return np.clip((base_P + own_CP)[:, None] + run_CSP + rest_CSP, 0, 1)


FRAGILE = (0.95, 0.3)  # one of the two misses more, and by more


def truth(rng: Generator, design: Design, seeds: int) -> float:
    """The mean difference of the two over very many patients, each with its own trainings."""
    many_folds = Design(folds=200, patient_sd=design.patient_sd, training_sd=design.training_sd)
    draws = [scores(rng, many_folds, FRAGILE, min(seeds, 2), 100_000) for _ in range(4)]
    return float(np.mean([dice_CSP[0] - dice_CSP[1] for dice_CSP in draws]))


def plain(rng: Generator, gap_SP: NDArray[np.float64]) -> tuple[float, float]:
    """The percentile bootstrap that resamples patients and seeds, as it is often done."""
    seeds, patients = gap_SP.shape
    share_RP = paired.resamples(rng, patients, 500)
    share_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), 500) / seeds
    mean_R = ((share_RS @ gap_SP) * share_RP).sum(1)
    low, high = np.quantile(mean_R, [0.025, 0.975])
    return float(low), float(high)


def covered(
    rng: Generator, design: Design, seeds: int, patients: int, studies: int
) -> NDArray[np.float64]:
    """Shares of studies: percentile, BCa, Student, plain cover the true value; the test errs."""
    aim, fold_P = truth(rng, design, seeds), np.arange(patients) % design.folds
    share_RP = paired.resamples(rng, patients, RESAMPLES)
    sign_RP = paired.signs(rng, patients, RESAMPLES)
    counts = np.zeros(5)
    for _ in range(studies):
        ours_SP, theirs_SP = scores(rng, design, FRAGILE, seeds, patients)
        gap_SP = ours_SP - theirs_SP
        estimate = paired.interval(gap_SP, fold_P, share_RP, rng)
        bounds = (
            (estimate.low, estimate.high),
            (estimate.bca_low, estimate.bca_high),
            curves.student_interval(gap_SP.tolist()),
            plain(rng, gap_SP),
        )
        wrong = paired.flip_test(gap_SP - aim, fold_P, sign_RP, rng) < 1 - paired.LEVEL
        counts += [*(low <= aim <= high for low, high in bounds), wrong]
    return counts / studies


def family(
    rng: Generator, design: Design, seeds: int, patients: int, studies: int
) -> NDArray[np.float64]:
    """Shares of studies: any pair significant, any with the leader significant, a wrong claim."""
    fold_P = np.arange(patients) % design.folds
    share_RP = paired.resamples(rng, patients, RESAMPLES)
    sign_RP = paired.signs(rng, patients, RESAMPLES)
    counts = np.zeros(3)
    for _ in range(studies):
        dice_CSP = scores(rng, design, (0.7,) * CONFIGURATIONS, seeds, patients)
        pairs = [(a, b) for a in range(CONFIGURATIONS) for b in range(a)]
        p = np.array(
            [paired.flip_test(dice_CSP[a] - dice_CSP[b], fold_P, sign_RP, rng) for a, b in pairs]
        )
        lead = int(dice_CSP.mean((1, 2)).argmax())
        with_lead = p[[lead in pair for pair in pairs]]
        worse_CSP = dice_CSP - MARGIN * (np.arange(CONFIGURATIONS) > 0)[:, None, None]
        lead = int(worse_CSP.mean((1, 2)).argmax())
        level = 1 - (1 - paired.LEVEL) / (CONFIGURATIONS - 1)
        claimed = lead == 0 and any(
            paired.lower_bound(other_SP - worse_CSP[0], fold_P, share_RP, rng, level=level)
            > -MARGIN
            for other_SP in worse_CSP[1:]
        )
        counts += [paired.holm(p).min() < 0.05, paired.holm(with_lead).min() < 0.05, claimed]
    return counts / studies


def of_one(
    rng: Generator, design: Design, seeds: int, patients: int, studies: int
) -> NDArray[np.float64]:
    """Shares of studies whose percentiles and BCa cover a configuration's own mean Dice."""
    aim = np.mean([scores(rng, design, (1.0,), 1, 100_000).mean() for _ in range(4)])
    fold_P, share_RP = np.arange(patients) % design.folds, paired.resamples(rng, patients)
    covers = np.zeros(2)
    for _ in range(studies):
        estimate = paired.interval(
            scores(rng, design, (1.0,), seeds, patients)[0], fold_P, share_RP, rng
        )
        covers += [
            estimate.low <= aim <= estimate.high,
            estimate.bca_low <= aim <= estimate.bca_high,
        ]
    return covers / studies


def rare(rng: Generator, patients: int, studies: int) -> NDArray[np.float64]:
    """The same where two configurations differ only in that one loses 0.85 on 3 of 100 patients."""
    aim = -0.03 * 0.85
    fold_P, share_RP = np.arange(patients) % 5, paired.resamples(rng, patients)
    covers = np.zeros(2)
    for _ in range(studies):
        lost_P = -0.85 * (rng.random(patients) < 0.03)
        gap_SP = lost_P + REST * rng.standard_normal((2, patients))
        estimate = paired.interval(gap_SP, fold_P, share_RP, rng)
        covers += [
            estimate.low <= aim <= estimate.high,
            estimate.bca_low <= aim <= estimate.bca_high,
        ]
    return covers / studies


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = np.random.default_rng(0)
    print(f"{'design':40}patients seeds percentile   BCa Student  plain   test")
    for design in DESIGNS:
        for patients in (20, 50, 110):
            for seeds in (1, 2, 5):
                percent = 100 * covered(rng, design, seeds, patients, studies)
                row = " ".join(f"{share:6.1f}" for share in percent)
                print(f"{design!s:40} {patients:7d} {seeds:5d}     {row}", flush=True)
    print(f"{'8 equal configurations':40}patients seeds Holm,pairs     leader wrong claim")
    for design, patients in product((DESIGNS[0], DESIGNS[3]), (20, 50, 110)):
        percent = 100 * family(rng, design, 2, patients, studies // 2)
        row = " ".join(f"{share:10.1f}" for share in percent)
        print(f"{design!s:40} {patients:7d} {2:5d} {row}", flush=True)
    rng = np.random.default_rng(1)
    print(f"{'beside the rule, 2 seeds':40}patients percentile   BCa")
    for patients in (20, 50, 110):
        single, seldom = of_one(rng, DESIGNS[0], 2, patients, studies), rare(rng, patients, studies)
        for name, shares in (
            ("a configuration's own Dice", single),
            ("fails on 3 of 100 patients", seldom),
        ):
            row = " ".join(f"{share:6.1f}" for share in 100 * shares)
            print(f"{name:40} {patients:7d}     {row}", flush=True)


if __name__ == "__main__":
    main()
