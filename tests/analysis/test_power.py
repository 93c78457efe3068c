"""How much more is promised: kept, silent where nothing can be, the same each time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.coverage import SAME
from benchmarks.promise import Kept, extended
from benchmarks.study_simulator import World
from brainseg.analysis.estimate import Estimate, Floats, Trainings, estimate
from brainseg.analysis.power import MOST_PATIENTS, MOST_SEEDS, Further, beyond_chance, further

FIFTHS = Trainings(np.tile(np.arange(50) % 5, (2, 1)))
TAIL = 0.05 / 6  # of seven configurations


def gap(mean: float, *, patients: float = 1e-4, training: float = 1e-5) -> Estimate:
    """A difference with these variances of its mean, from 50 patients x 5 folds x 2 seeds."""
    return Estimate(
        mean=mean, count=50, error_patients=patients, error_training=training,
        freedom_patients=30.0, freedom_training=10, training=10 * training, rest=patients * 10,
    )  # fmt: skip


def ask(
    of: Estimate, trainings: Trainings = FIFTHS, *, tail: float = TAIL, spread: float = 6.0
) -> Further | None:
    return further("rival", of, trainings, tail=tail, spread=spread)


def promised(of: Estimate, tail: float = TAIL) -> Further:
    answer = ask(of, tail=tail)
    assert answer is not None
    return answer


def test_the_same_difference_gets_the_same_answer() -> None:
    assert promised(gap(0.025)) == promised(gap(0.025))
    assert promised(gap(0.025)).rival == "rival"


def test_a_difference_that_is_smaller_than_its_error_promises_nothing() -> None:
    assert ask(gap(0.005)) is None
    assert ask(gap(0.0)) is None
    assert ask(gap(0.0, patients=0.0, training=0.0)) is None


def test_a_larger_difference_takes_fewer_more() -> None:
    patients = [promised(gap(mean)).patients for mean in (0.024, 0.026, 0.028)]
    assert all(patients) and patients == sorted(patients, key=lambda more: -(more or 0))


def test_where_configurations_differ_by_no_more_than_chance_nothing_is_promised() -> None:
    assert ask(gap(0.026), spread=1.0) is None
    few, many = ask(gap(0.026), spread=100.0), ask(gap(0.026), spread=4.0)
    assert few and few.patients and (many is None or (many.patients or 9999) > few.patients)


def test_the_spread_is_that_of_all_pairs_over_their_errors() -> None:
    row = [gap(0.0), gap(0.01), gap(-0.03)]
    differences = [row, [gap(-0.01), gap(0.0), gap(0.02)], [gap(0.03), gap(-0.02), gap(0.0)]]
    errors = 3 * (1e-4 + 1e-5)
    assert beyond_chance(differences) == pytest.approx((0.01**2 + 0.03**2 + 0.02**2) / errors)
    assert beyond_chance([[gap(0.0)] * 2] * 2) == 1


def test_a_stricter_level_takes_more() -> None:
    few, many = promised(gap(0.026)).patients, promised(gap(0.026), tail=0.005).patients
    assert few and many and few < many


def test_where_patients_scatter_more_patients_help_and_where_trainings_do_more_seeds() -> None:
    by_patients = promised(gap(0.024, patients=1.1e-4, training=1e-6))
    assert by_patients.patients and by_patients.seeds is None
    by_seeds = promised(gap(0.026, patients=2e-5, training=1e-4))
    assert by_seeds.seeds and by_seeds.patients is None


def test_the_promise_stays_within_what_is_realistic() -> None:
    for mean in np.linspace(0.012, 0.03, 15):
        answer = ask(gap(float(mean)))
        if answer and answer.patients:
            assert 1 <= answer.patients <= MOST_PATIENTS - 50
        if answer and answer.seeds:
            assert 1 <= answer.seeds <= MOST_SEEDS - 2


def test_without_a_second_seed_no_seeds_are_promised() -> None:
    one = Trainings(np.arange(50)[None] % 5)
    answer = ask(gap(0.03), one, spread=50.0)
    assert answer and answer.patients and answer.seeds is None


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.just(2), st.integers(2, 3), st.integers(6, 15)),
        elements=st.floats(0, 1),
    )
)
def test_any_scores_get_a_realistic_promise_or_none(dice_CSP: Floats) -> None:
    seeds, patients = dice_CSP.shape[1:]
    trainings = Trainings(np.tile(np.arange(patients) % 5, (seeds, 1)))
    of = estimate(dice_CSP[0] - dice_CSP[1], trainings)
    answer = ask(of, trainings)
    if answer is not None:
        assert answer.patients is None or 0 < answer.patients <= MOST_PATIENTS
        assert answer.seeds is None or 0 < answer.seeds <= MOST_SEEDS
        assert answer.patients or answer.seeds


@pytest.mark.parametrize(("noise", "of"), [("quiet", "patients"), ("noisy", "seeds")])
def test_as_many_more_as_promised_tell_in_some_80_percent(noise: str, of: str) -> None:
    """The leader and the second of seven, whose true values lie as far apart as can be told."""
    world = World(patients=50 if of == "patients" else 400, noise=noise, failures=SAME)
    rng, kept = np.random.default_rng(1), Kept(seeds=[], patients=[])
    for _ in range(140):
        gains = tuple(0.3 * rng.standard_normal(len(SAME)))
        extended(rng, replace(world, gains=gains), TAIL, kept)
    told = [tells for tells, _ in kept[of]]
    assert len(told) > 5 and 0.6 < np.mean(told) <= 0.97
