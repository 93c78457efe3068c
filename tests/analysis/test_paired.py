"""Laws of the paired statistics: shifts, symmetry, agreement with scipy, coverage."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from brainseg.analysis.paired import NORMAL
from numpy.typing import NDArray
from scipy import stats

from benchmarks import coverage
from brainseg.analysis import paired, power, variance

Z = 1.959963984540054


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def gaps(rng: np.random.Generator, seeds: int = 2, patients: int = 25) -> NDArray[np.float64]:
    """Skewed differences with a patient's part and a rest."""
    patient_part = 0.1 * (rng.gamma(2, 1, patients) - 2)
    return patient_part + 0.05 * rng.standard_normal((seeds, patients))


def whole(patients: int) -> NDArray[np.int64]:
    return np.zeros(patients, np.int64)


def fifths(patients: int) -> NDArray[np.int64]:
    return np.arange(patients) % 5


def test_a_shift_of_every_difference_shifts_the_intervals_and_nothing_else(
    rng: np.random.Generator,
) -> None:
    gap_SP, share_RP = gaps(rng), paired.resamples(rng, 25)
    before = paired.interval(gap_SP, fifths(25), share_RP, np.random.default_rng(1))
    shifted = paired.interval(gap_SP + 0.3, fifths(25), share_RP, np.random.default_rng(1))
    for bound in ("mean", "low", "high", "bca_low", "bca_high"):
        assert getattr(shifted, bound) == pytest.approx(getattr(before, bound) + 0.3)


def test_swapping_the_two_sides_mirrors_the_interval(rng: np.random.Generator) -> None:
    gap_SP, share_RP = gaps(rng, seeds=1), paired.resamples(rng, 25)
    interval = paired.interval(gap_SP, whole(25), share_RP, rng)
    mirrored = paired.interval(-gap_SP, whole(25), share_RP, rng)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))
    assert (mirrored.bca_low, mirrored.bca_high) == pytest.approx(
        (-interval.bca_high, -interval.bca_low)
    )


@pytest.mark.parametrize("seed", range(3))
def test_bca_equals_scipy_s_at_the_levels_of_a_normal_distribution(seed: int) -> None:
    values = np.random.default_rng(seed).gamma(1.5, 1, 30)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=3000,
                             rng=np.random.default_rng(seed))  # fmt: skip
    mean_R = theirs.bootstrap_distribution
    ours = np.quantile(mean_R, paired.bca_levels(mean_R, values, (-Z, Z)))
    assert ours == pytest.approx([*theirs.confidence_interval], abs=1e-9)


def test_percentiles_of_normal_patients_are_student_s_interval(rng: np.random.Generator) -> None:
    gap = NORMAL_SCORES / 10
    interval = paired.interval(gap[None], whole(40), paired.resamples(rng, 40, 200_000), rng)
    reach = stats.t.ppf(0.975, 39) * gap.std(ddof=1) / sqrt(40)
    assert (interval.low, interval.high) == pytest.approx((-reach, reach), rel=0.03)


NORMAL_SCORES = np.array([NORMAL.inv_cdf((n + 0.5) / 40) for n in range(40)])


def test_heavy_tails_leave_fewer_degrees_of_freedom(rng: np.random.Generator) -> None:
    normal, heavy = NORMAL_SCORES[None], NORMAL_SCORES[None] ** 5
    assert variance.components(normal, whole(40)).freedom_patients == pytest.approx(39)
    assert variance.components(heavy, whole(40)).freedom_patients < 6


def test_with_few_patients_all_sign_flips_are_enumerated(rng: np.random.Generator) -> None:
    gap = np.array([0.3, -0.1, 0.2, 0.05, 0.4, -0.02])
    every = [abs(np.dot(gap, ways)) for ways in product((1, -1), repeat=6)]
    p = np.mean([total >= abs(gap.sum()) - 1e-12 for total in every])
    assert paired.flip_test(gap[None], whole(6), paired.signs(rng, 6), rng) == p
    assert 0 < p < 1


def test_differences_that_all_have_one_sign_have_the_smallest_possible_p(
    rng: np.random.Generator,
) -> None:
    gap = np.linspace(0.1, 0.2, 8)[None]
    assert paired.flip_test(gap, whole(8), paired.signs(rng, 8), rng) == 2 / 2**8
    many = np.linspace(0.1, 0.2, 60)[None]
    assert paired.flip_test(many, whole(60), paired.signs(rng, 60, 999), rng) == 1 / 1000


def test_no_difference_at_all_has_p_1_and_no_width(rng: np.random.Generator) -> None:
    none = np.zeros((2, 20))
    assert paired.flip_test(none, fifths(20), paired.signs(rng, 20), rng) == 1
    interval = paired.interval(none, fifths(20), paired.resamples(rng, 20), rng)
    assert (interval.low, interval.high, interval.bca_low, interval.bca_high) == (0, 0, 0, 0)


def test_holm_is_the_textbook_correction() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert paired.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])


def test_known_variances_are_recovered(rng: np.random.Generator) -> None:
    estimates = []
    fold_P = fifths(60)
    for _ in range(400):
        gap_SP = 0.1 * rng.standard_normal(60) + 0.05 * rng.standard_normal((4, 60))
        gap_SP += (0.03 * rng.standard_normal((4, 5)))[:, fold_P]
        components = variance.components(gap_SP, fold_P)
        estimates.append(
            (
                components.patient,
                components.training,
                components.rest,
                components.error**2,
                gap_SP.mean() ** 2,
            )
        )
    patient, training, rest, error, truth = np.mean(estimates, axis=0)
    assert rest == pytest.approx(0.05**2, rel=0.05)
    assert patient == pytest.approx(0.1**2, rel=0.1)
    assert training == pytest.approx(0.03**2, rel=0.35)  # the larger of two estimates: cautious
    assert 0.85 < error / truth < 1.35


def test_seeds_that_disagree_widen_the_interval(rng: np.random.Generator) -> None:
    gap_SP, share_RP = gaps(rng, seeds=3), paired.resamples(rng, 25)
    calm = paired.interval(gap_SP, whole(25), share_RP, rng)
    wild = gap_SP + np.array([[-0.2], [0.0], [0.2]])
    apart = paired.interval(wild, whole(25), share_RP, rng)
    assert apart.high - apart.low > 2 * (calm.high - calm.low)
    assert paired.flip_test(wild + 0.15, whole(25), paired.signs(rng, 25), rng) > 0.1
    assert paired.flip_test(gap_SP + 0.15, whole(25), paired.signs(rng, 25), rng) < 0.01


def test_a_configuration_that_is_always_ahead_is_first_and_equal_ones_share_the_place(
    rng: np.random.Generator,
) -> None:
    low_SP = 0.5 + gaps(rng, seeds=1) / 5
    dice_CSP = np.stack([low_SP, low_SP + 0.3, low_SP, low_SP])
    stability = paired.stability(dice_CSP, whole(25), paired.resamples(rng, 25), rng)
    assert stability.first_C.tolist() == [0, 1, 0, 0]
    assert stability.rank_low_C.tolist() == stability.rank_high_C.tolist() == [3, 1, 3, 3]
    alike = paired.stability(dice_CSP[[0, 2]], whole(25), paired.resamples(rng, 25), rng)
    assert alike.first_C == pytest.approx([0.5, 0.5])


def test_configurations_drawn_alike_are_first_about_equally_often(rng: np.random.Generator) -> None:
    first = np.zeros(3)
    for _ in range(60):
        dice_CSP = 0.8 + 0.1 * rng.standard_normal((3, 2, 30))
        share_RP = paired.resamples(rng, 30, 500)
        first += paired.stability(dice_CSP, fifths(30), share_RP, rng).first_C / 60
    assert first.sum() == pytest.approx(1)
    assert np.abs(first - 1 / 3).max() < 0.12


def planned(patient: float, training: float, rest: float, seeds: int = 2) -> variance.Components:
    return variance.Components(
        patient=patient**2, training=training**2, rest=rest**2, seeds=seeds, patients=20,
        sum_sq_fold_shares=0.2, error_patients=(patient**2 + rest**2 / seeds) / 20,
        error_training=training**2 * 0.2 / seeds, freedom_patients=19, freedom_training=5,
    )  # fmt: skip


def test_the_planned_number_of_patients_makes_the_difference_significant_in_four_of_five_studies(
    rng: np.random.Generator,
) -> None:
    more = power.more_needed(planned(0.1, 0.0, 0.04), 0.04, comparisons=1).patients
    assert more
    significant = []
    for _ in range(600):
        gap_SP = 0.04 + 0.1 * rng.standard_normal(20 + more)
        gap_SP = gap_SP + 0.04 * rng.standard_normal((2, 20 + more))
        significant.append(stats.ttest_1samp(gap_SP.mean(0), 0).pvalue < 0.05)
    assert 0.75 < np.mean(significant) < 0.86


def test_where_patients_cause_the_error_no_number_of_seeds_helps() -> None:
    more = power.more_needed(planned(0.1, 0.01, 0.01), 0.02, comparisons=1)
    assert more.seeds is None and more.patients and more.patients > 100


def test_where_trainings_cause_the_error_seeds_help_and_patients_do_not() -> None:
    more = power.more_needed(planned(0.01, 0.1, 0.05), 0.05, comparisons=1)
    assert more.patients is None and more.seeds and more.seeds > 1


def test_more_comparisons_need_more_patients() -> None:
    components = planned(0.1, 0.01, 0.05)
    few, many = (power.more_needed(components, 0.03, comparisons=n).patients for n in (1, 28))
    assert few and many and many > few


def test_from_one_seed_no_number_of_further_seeds_is_estimated() -> None:
    assert power.more_needed(planned(0.05, 0.0, 0.0, seeds=1), 0.05, comparisons=1).seeds is None


def test_without_a_difference_no_number_of_seeds_or_patients_makes_one_significant() -> None:
    assert power.more_needed(planned(0.1, 0.01, 0.05), 0.0, comparisons=1) == power.SampleSize(
        seeds=None, patients=None
    )


@pytest.mark.parametrize(("patients", "seeds"), [(20, 1), (20, 2), (50, 2), (110, 5)])
def test_intervals_cover_the_truth_and_the_test_errs_about_as_often_as_stated(
    patients: int, seeds: int
) -> None:
    # 700 studies: the standard error of a share of 95 % is 0.8 %, so 91 % is five of them away.
    design = coverage.Design(folds=5, patient_sd=0.05, training_sd=0.02)
    rng = np.random.default_rng(patients + seeds)
    percentile, bca, _, _, wrong = coverage.covered(rng, design, seeds, patients, 700)
    assert 0.925 < percentile < 0.99
    assert 0.92 < bca < 0.985
    assert 0.01 < wrong < 0.075


def test_the_plain_bootstrap_of_few_patients_and_seeds_covers_the_truth_too_rarely(
    rng: np.random.Generator,
) -> None:
    design = coverage.Design(folds=1, patient_sd=0.05, training_sd=0.02)
    percentile, _, _, plain, _ = coverage.covered(rng, design, 2, 50, 400)
    assert plain < 0.85 < 0.9 < percentile


def test_an_interval_is_clipped_to_the_range_of_its_mean() -> None:
    wide = paired.Interval(mean=0.1, low=-0.1, high=0.3, bca_low=0.02, bca_high=1.2)
    clipped = wide.within(0, 1)
    assert (clipped.low, clipped.high, clipped.bca_low, clipped.bca_high) == (0, 0.3, 0.02, 1)
    assert clipped.mean == wide.mean
