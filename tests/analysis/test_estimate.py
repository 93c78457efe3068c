"""Laws of the one estimator: hand-computed cases, expectations by brute force, bounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats

from benchmarks.study_simulator import World, study, truth
from brainseg.analysis.estimate import (
    UNKNOWN,
    Estimate,
    Floats,
    Prior,
    Trainings,
    between_trainings,
    estimate,
    estimates,
)
from brainseg.analysis.pairs import two_sided


def cut(folds: int, seeds: int, patients: int, *, anew: bool, draw: int = 0) -> Trainings:
    """Folds of equal size, the same for all seeds or cut anew for each."""
    rng = np.random.default_rng(draw)
    fold_P = np.arange(patients) % folds
    return Trainings(np.stack([rng.permutation(fold_P) if anew else fold_P for _ in range(seeds)]))


def anova(value_SP: Floats, fold_P: NDArray[np.int64]) -> tuple[float, float]:
    """Variances of trainings and of the rest, of seeds nested in folds, by sums of squares."""
    seeds, patients = value_SP.shape
    off_SP = value_SP - value_SP.mean(0)
    folds = int(fold_P.max()) + 1
    size = patients // folds
    between = sum(size * off_SP[:, fold_P == k].mean(1) ** 2 for k in range(folds)).sum()
    mean_square = between / (folds * (seeds - 1))
    inside = (off_SP**2).sum() - between
    rest = inside / ((patients - folds) * (seeds - 1))
    return (mean_square - rest) / size, rest


@pytest.mark.parametrize(("folds", "seeds", "patients"), [(5, 2, 20), (2, 3, 12), (1, 5, 9)])
def test_the_same_folds_for_all_seeds_give_the_analysis_of_variance(
    folds: int, seeds: int, patients: int
) -> None:
    trainings = cut(folds, seeds, patients, anew=False)
    rng = np.random.default_rng(3)
    value_SP = rng.normal(0, 0.1, (seeds, patients))
    value_SP += rng.normal(0, 0.2, (seeds, folds))[:, trainings.fold_SP[0]]
    training, rest = anova(value_SP, trainings.fold_SP[0])
    fitted = estimate(value_SP, trainings)
    assert training > 0
    assert (fitted.training, fitted.rest) == pytest.approx((training, rest))
    assert fitted.error_training == pytest.approx(training / folds / seeds)
    assert fitted.error_patients == pytest.approx(value_SP.mean(0).var(ddof=1) / patients)
    assert fitted.freedom_training == folds * (seeds - 1)


def test_a_case_computed_by_hand() -> None:
    """Two folds of two patients, two seeds: 0.2 apart in one fold, 0 in the other."""
    value_SP = np.array([[0.1, 0.3, 0.5, 0.7], [0.3, 0.5, 0.5, 0.7]])
    fitted = estimate(value_SP, Trainings(np.array([[0, 0, 1, 1]] * 2)))
    # Off their patients' means: -0.1, -0.1, 0, 0 and 0.1, 0.1, 0, 0. Sums -0.2, 0.2, 0, 0.
    assert fitted.mean == pytest.approx(0.45)
    assert fitted.training == pytest.approx(0.01) and fitted.rest == pytest.approx(0, abs=1e-12)
    assert fitted.error_training == pytest.approx(0.01 / 4)
    # Patients' means 0.2, 0.4, 0.5, 0.7: squares about 0.45 sum up to 0.13.
    assert fitted.error_patients == pytest.approx(0.13 / 3 / 4)


@pytest.mark.parametrize(("folds", "seeds", "patients"), [(5, 2, 23), (2, 3, 20), (3, 4, 17)])
def test_folds_cut_anew_give_both_variances_on_average(
    folds: int, seeds: int, patients: int
) -> None:
    trainings = cut(folds, seeds, patients, anew=True)
    rng, training, rest, draws = np.random.default_rng(1), 0.04, 0.09, 3000
    luck_NT = rng.normal(0, math.sqrt(training), (draws, len(trainings.share_T)))
    noise_NSP = rng.normal(0, math.sqrt(rest), (draws, seeds, patients))
    value_NSP = rng.normal(0.5, 1.0, (draws, 1, patients)) + noise_NSP
    value_NSP += luck_NT[:, trainings.training_SP]
    training_N, rest_N = between_trainings(value_NSP, trainings)
    error = training_N.std() / math.sqrt(draws)
    assert training_N.mean() == pytest.approx(training, abs=4 * error)
    assert rest_N.mean() == pytest.approx(rest, rel=0.02)


def test_the_traces_are_those_of_the_matrices_written_out() -> None:
    trainings = cut(3, 2, 11, anew=True)
    scores = np.arange(22).reshape(2, 11)
    indicators = np.zeros((22, 6))
    indicators[scores.ravel(), trainings.training_SP.ravel()] = 1
    patients = np.zeros((22, 11))
    patients[scores.ravel(), np.tile(np.arange(11), 2)] = 1
    projection = np.eye(22) - patients @ patients.T / 2
    m = indicators.T @ projection @ indicators
    assert trainings.traces == pytest.approx((np.trace(m), np.trace(m @ m)))


def test_the_error_of_the_mean_is_what_repeated_studies_scatter_by() -> None:
    world = World(patients=50, noise="noisy")
    rng = np.random.default_rng(0)
    drawn = [study(rng, world) for _ in range(1500)]
    fitted = [estimate(dice[0] - dice[1], Trainings(folds)) for dice, folds in drawn]
    scatter = np.var([gap.mean for gap in fitted])
    assert np.mean([gap.error**2 for gap in fitted]) == pytest.approx(scatter, rel=0.15)


def test_the_patients_degrees_of_freedom_fall_with_the_kurtosis() -> None:
    one = Trainings(np.zeros((2, 200), np.int64))
    rng = np.random.default_rng(0)
    normal = estimate(np.tile(rng.normal(0, 1, 200), (2, 1)), one).freedom_patients
    tailed = estimate(np.tile(rng.standard_t(3, 200), (2, 1)), one).freedom_patients
    even = estimate(np.tile(np.linspace(0, 1, 200), (2, 1)), one).freedom_patients
    rare = estimate(np.tile(np.arange(200) == 7, (2, 1)).astype(float), one).freedom_patients
    assert rare == 3 < tailed < 0.5 * normal and even == 199


def test_a_heavy_tailed_variance_has_the_degrees_of_freedom_of_its_own_scatter() -> None:
    """Of Laplace's distribution, excess 3: 2 / (3 / n + 2 / (n - 1)), n = 400."""
    one, rng = Trainings(np.zeros((1, 400), np.int64)), np.random.default_rng(2)
    freedom = [estimate(rng.laplace(size=(1, 400)), one).freedom_patients for _ in range(300)]
    assert 1 / np.mean(np.reciprocal(freedom)) == pytest.approx(2 / (3 / 400 + 2 / 399), rel=0.1)


def fit(mean: float, patients: float, training: float, freedom: tuple[float, int]) -> Estimate:
    return Estimate(
        mean=mean, count=50, error_patients=patients, error_training=training,
        freedom_patients=freedom[0], freedom_training=freedom[1], training=0.0, rest=0.0,
    )  # fmt: skip


def test_student_s_quantiles_are_those_of_the_tables() -> None:
    for freedom, quantile in ((4, 2.776), (10, 2.228), (30, 2.042)):
        assert fit(0.0, 1.0, 0.0, (freedom, 4)).reach(0.025) == pytest.approx(quantile, abs=5e-4)
        gap = fit(0.1, 0.01, 0.0, (freedom, 4))
        assert two_sided(gap) == pytest.approx(stats.t.sf(1.0, freedom) * 2)
    assert fit(0.0, 1.0, 0.0, (4, 4)).reach(0.05) == pytest.approx(2.132, abs=5e-4)


def test_satterthwaite_s_degrees_of_freedom_of_two_equal_parts_add_up() -> None:
    assert fit(0.0, 0.5, 0.5, (10, 10)).freedom == pytest.approx(20)
    assert fit(0.0, 1.0, 0.0, (10, 4)).freedom == pytest.approx(10)
    assert fit(0.0, 1.0, 1e-9, (10, 4)).freedom == pytest.approx(10)


def test_p_is_that_of_sign_flips_where_patients_alone_matter() -> None:
    rng, differ = np.random.default_rng(4), []
    for _ in range(20):
        gap_P = rng.normal(0.03, 0.1, 40)
        signs = rng.choice([-1.0, 1.0], (20_000, 40))
        flips = (abs(signs @ gap_P) >= abs(gap_P.sum()) - 1e-12).mean()
        gap = estimate(np.tile(gap_P, (2, 1)), cut(5, 2, 40, anew=True))
        differ.append(two_sided(gap) - flips)
    assert np.abs(differ).max() < 0.03


def test_another_s_variance_between_trainings_counts_by_its_degrees_of_freedom() -> None:
    trainings, rng = cut(5, 2, 40, anew=True), np.random.default_rng(0)
    value_SP = 0.1 * rng.standard_normal((2, 40))
    own = between_trainings(value_SP[None], trainings)[0].item()
    fitted = estimate(value_SP, trainings, Prior(training=0.03, freedom=15))
    assert fitted.training == pytest.approx((5 * own + 15 * 0.03) / 20)
    assert fitted.freedom_training == 20
    assert estimate(value_SP, trainings) == estimate(value_SP, trainings, UNKNOWN)


def test_one_seed_has_its_folds_as_trainings() -> None:
    trainings = cut(5, 1, 40, anew=True)
    assert trainings.freedom == 4
    rng, draws = np.random.default_rng(0), 3000
    value_NSP = 0.2 * rng.standard_normal((draws, 5))[:, trainings.training_SP]
    value_NSP += rng.standard_normal((draws, 1, 40))
    training_N, _ = between_trainings(value_NSP, trainings)
    assert training_N.mean() == pytest.approx(0.04, abs=4 * training_N.std() / math.sqrt(draws))


def test_scores_beside_each_other_are_estimated_as_alone() -> None:
    trainings = cut(5, 2, 40, anew=True)
    value_NSP = np.random.default_rng(0).random((4, 2, 40))
    value_NSP[2] = 0.5
    alone = [estimate(value_SP, trainings) for value_SP in value_NSP]
    for one, beside in zip(alone, estimates(value_NSP, trainings), strict=True):
        assert vars(beside) == pytest.approx(vars(one))


def test_where_each_training_scores_one_patient_nothing_is_called_trainings() -> None:
    fitted = estimate(np.random.default_rng(0).random((1, 6)), Trainings(np.arange(6)[None]))
    assert fitted.error_training == 0 < fitted.error_patients


def test_identical_scores_have_a_difference_of_0_without_error() -> None:
    gap = estimate(np.zeros((2, 20)), cut(5, 2, 20, anew=True))
    assert gap.error == 0 and math.isinf(gap.freedom) and two_sided(gap) == 1
    interval = gap.of_difference()
    assert (interval.low, interval.mean, interval.high) == (0, 0, 0)
    constant = estimate(np.full((2, 20), 0.25), cut(5, 2, 20, anew=True))
    assert two_sided(constant) == 0


def test_a_dice_of_few_patients_reaches_as_if_one_more_could_fail() -> None:
    alike = estimate(np.full((2, 20), 0.9), cut(5, 2, 20, anew=True)).of_dice()
    assert 0.6 < alike.low < 0.9 < alike.high < 1
    many = estimate(np.full((2, 2000), 0.9), cut(5, 2, 2000, anew=True)).of_dice()
    assert many.high - many.low < 0.02 * (alike.high - alike.low) * 2
    perfect = estimate(np.ones((2, 20)), cut(5, 2, 20, anew=True)).of_dice()
    assert (perfect.low, perfect.high) == (1, 1)


@pytest.mark.parametrize("patients", [20, 110])
def test_an_own_dice_is_covered(patients: int) -> None:
    """Within four standard errors of 95 %, 800 studies; the variance as seen covers 90 to 92."""
    world, rng, hits = World(patients=patients), np.random.default_rng(1), 0
    aim = truth(world)[0]
    for _ in range(800):
        dice_CSP, fold_SP = study(rng, world)
        interval = estimate(dice_CSP[0], Trainings(fold_SP)).of_dice()
        hits += interval.low <= aim <= interval.high
    assert 0.935 < hits / 800 < 0.98


shapes = st.tuples(st.integers(2, 4), st.integers(4, 30))
dice = arrays.arrays(np.float64, shapes, elements=st.floats(0, 1))


@settings(max_examples=150, deadline=None)
@given(dice, st.integers(1, 5), st.booleans(), st.integers(0, 1000))
def test_any_scores_give_finite_intervals_within_what_dice_can_be(
    dice_SP: Floats, folds: int, anew: bool, draw: int
) -> None:
    seeds, patients = dice_SP.shape
    trainings = cut(folds, seeds, patients, anew=anew, draw=draw)
    own = estimate(dice_SP, trainings).of_dice()
    assert 0 <= own.low <= own.mean + 1e-12 and own.mean - 1e-12 <= own.high <= 1
    gap_SP = dice_SP - dice_SP[::-1, ::-1]
    one, other = estimate(gap_SP, trainings), estimate(-gap_SP, trainings)
    gap, back = one.of_difference(), other.of_difference()
    assert -1 <= gap.low <= gap.high <= 1
    assert (back.low, back.mean, back.high) == pytest.approx((-gap.high, -gap.mean, -gap.low))
    assert min(one.training, one.rest, one.error) >= 0 and one.freedom > 0
    assert 0 <= two_sided(one) <= 1
