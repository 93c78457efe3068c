"""P(best) and ranks, beside a bootstrap of patients and beside the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.coverage import SAME
from benchmarks.study_simulator import World, study
from brainseg.analysis.estimate import Floats, Trainings
from brainseg.analysis.ranks import Ranks, ranks


def thirds(seeds: int, patients: int) -> Trainings:
    return Trainings(np.tile(np.arange(patients) % 3, (seeds, 1)))


def bootstrap(dice_CSP: Floats, draws: int = 4000) -> Floats:
    """How often each is first when patients are drawn again."""
    rng, patients = np.random.default_rng(1), dice_CSP.shape[2]
    share_RP = rng.multinomial(patients, np.full(patients, 1 / patients), draws) / patients
    first_R = (share_RP @ dice_CSP.mean(1).T).argmax(1)
    return np.bincount(first_R, minlength=len(dice_CSP)) / draws


@pytest.mark.parametrize("seed", range(4))
def test_where_patients_alone_matter_p_best_is_that_of_a_bootstrap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patient_P, own_CP = rng.normal(0.7, 0.1, 60), rng.normal(0, 0.04, (4, 60))
    dice_CSP = np.repeat((patient_P + own_CP)[:, None], 2, axis=1)
    ours = ranks(dice_CSP, thirds(2, 60)).first_C
    assert ours == pytest.approx(bootstrap(dice_CSP), abs=0.04)


def test_equal_configurations_have_equal_chances_and_all_ranks() -> None:
    dice_SP = np.random.default_rng(0).random((2, 20))
    drawn = ranks(np.stack([dice_SP] * 4), thirds(2, 20))
    assert drawn.first_C == pytest.approx(np.full(4, 0.25), abs=0.03)
    assert drawn.low_C.min() >= 1 and drawn.high_C.max() <= 4
    dice_CSP = np.random.default_rng(0).random((3, 2, 6))
    same = ranks(dice_CSP, thirds(2, 6), draws=500), ranks(dice_CSP, thirds(2, 6), draws=500)
    assert (same[0].first_C == same[1].first_C).all()


def test_one_far_ahead_is_first_and_one_far_behind_last() -> None:
    dice_SP = np.random.default_rng(0).random((2, 30)) * 0.1
    drawn = ranks(np.stack([dice_SP + 0.4, dice_SP + 0.8, dice_SP]), thirds(2, 30))
    assert drawn.first_C.tolist() == [0, 1, 0]
    assert drawn.low_C.tolist() == drawn.high_C.tolist() == [2, 1, 3]


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(2, 5), st.integers(2, 3), st.integers(6, 12)),
        elements=st.floats(0, 1),
    )
)
def test_chances_of_any_scores_add_up_and_ranks_are_ranks(dice_CSP: Floats) -> None:
    count, seeds, patients = dice_CSP.shape
    drawn: Ranks = ranks(dice_CSP, thirds(seeds, patients), draws=200)
    assert drawn.first_C.sum() == pytest.approx(1) and (drawn.first_C >= 0).all()
    assert (drawn.low_C >= 1).all() and (drawn.low_C <= drawn.high_C).all()
    assert (drawn.high_C <= count).all()


def test_p_best_of_the_leader_is_how_often_it_is_the_best() -> None:
    """300 studies with gains of their own: within 0.08, three standard errors."""
    rng, chance, right = np.random.default_rng(0), [], []
    for _ in range(300):
        gains = tuple(0.2 * rng.standard_normal(len(SAME)))
        dice_CSP, fold_SP = study(rng, World(patients=50, gains=gains, failures=SAME))
        lead = int(dice_CSP.mean((1, 2)).argmax())
        chance.append(ranks(dice_CSP, Trainings(fold_SP), draws=500).first_C[lead])
        right.append(lead == int(np.argmax(gains)))
    assert np.mean(chance) == pytest.approx(np.mean(right), abs=0.08)
