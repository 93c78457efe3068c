"""Laws of folds: every patient once, alike in size, tumour and site; the test stays locked."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from brainseg.data.splits.draw import (
    Groups,
    fold_patients,
    locked_and_folds,
    shared_patients,
    split_by_patient,
)
from brainseg.data.splits.folds import fold_column, folds_of, rows_of, seeds_of_folds
from tests.support.tables import counts, growing, made_up_table, patients_in, refused


@pytest.mark.parametrize("seed", range(5))
def test_folds_hold_every_patient_once_and_differ_by_one_at_most(seed: int) -> None:
    table = growing(23)
    folds = fold_patients(table, 5, seed)
    assert folds.index.equals(table.index) and shared_patients(table, folds) == 0
    assert sorted(counts(table, folds)) == [0, 1, 2, 3, 4]
    assert sorted(counts(table, folds).values()) == [4, 4, 5, 5, 5]


@pytest.mark.parametrize("seed", range(5))
def test_folds_take_one_each_of_the_k_largest_tumours_then_of_the_next_k(seed: int) -> None:
    table = growing(20)
    fold = fold_patients(table, 5, seed).groupby(table["patient"]).first()
    for start in range(0, 20, 5):
        assert sorted(fold.iloc[start : start + 5]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(5))
def test_sites_are_spread_over_the_folds(seed: int) -> None:
    table = growing(60, "".join(np.random.default_rng(2).permutation(list("A" * 30 + "B" * 30))))
    folds = fold_patients(table, 5, seed)
    site = table.groupby("patient")["site"].first()
    for patients in patients_in(table, folds).values():
        assert abs((site[sorted(patients)] == "A").sum() - 6) <= 1


def test_each_fold_trains_on_every_unlocked_patient_but_those_that_it_validates() -> None:
    table = growing(23)
    part = split_by_patient(table, test=0.1)
    table["fold"] = locked_and_folds(table, part, 5, seed=1)
    table["part"] = part.where(part == "test", "train")
    assert ((table["fold"] == -1) == (part == "test")).all()
    rows = [rows_of(table, fold) for fold in range(5)]
    scored = np.concatenate([validation for _, validation in rows])
    assert sorted(scored) == np.flatnonzero(part != "test").tolist()
    for train, validation in rows:
        assert sorted([*train, *validation]) == sorted(scored)
        assert not set(table["patient"].iloc[train]) & set(table["patient"].iloc[validation])


def test_without_folds_the_parts_say_who_validates() -> None:
    table = growing(10)
    table["part"] = split_by_patient(table, test=0.1)
    train, validation = rows_of(table)
    assert set(table["part"].iloc[train]) == {"train"}
    assert set(table["part"].iloc[validation]) == {"validation"}
    assert len(train) + len(validation) == (table["part"] != "test").sum()


@pytest.mark.parametrize(
    ("table", "k", "message"),
    [
        (growing(4), 5, "hold a patient (linked ones count once), there are 4 for 5 folds"),
        (
            made_up_table({f"p{i}": [0] for i in range(10)} | {"q": [5], "r": [5]}),
            3,
            "every fold must hold a patient with tumour (linked ones count once), there are 2 "
            "for 3 folds; use 2 folds, or add patients",
        ),
    ],
)
def test_impossible_folds_are_refused(table: pd.DataFrame, k: int, message: str) -> None:
    assert message in refused(lambda: fold_patients(table, k, 0))


def cut_for(
    seeds: Sequence[int], table: pd.DataFrame, groups: Groups | None = None
) -> pd.DataFrame:
    """Who is in which of 5 folds, patient by patient, under each seed."""
    folds = {seed: fold_patients(table, 5, (7, seed), groups) for seed in seeds}
    return pd.DataFrame(folds).groupby(table["patient"]).first()


def test_folds_cut_anew_depend_on_both_seeds_alone_and_mix_other_patients() -> None:
    table = growing(40)
    one, three = cut_for([2], table), cut_for([1, 2, 3], table)
    assert one[2].equals(three[2]), "whatever other seeds there are"
    assert three.nunique(axis=1).mean() > 1.5, "patients meet others under another seed"
    together = [
        {frozenset(names) for names in three.groupby(seed).groups.values()} for seed in (1, 2, 3)
    ]
    assert not set.intersection(*together)
    other = fold_patients(table, 5, (8, 2)).groupby(table["patient"]).first()
    assert not other.equals(one[2])


def test_linked_patients_stay_together_under_every_seed() -> None:
    table = growing(20)
    groups = {
        name: "p000" if name in ("p000", "p007", "p019") else name for name in table["patient"]
    }
    cut = cut_for(range(6), table, groups)
    assert (cut.loc[["p000", "p007", "p019"]].nunique() == 1).all()


def test_rows_are_those_of_the_seed_s_folds_and_of_the_common_ones_where_it_has_none() -> None:
    table = growing(10)
    table["part"] = "validation"
    for seed in (1, 2):
        table[fold_column(seed)] = fold_patients(table, 5, (0, seed))
    assert seeds_of_folds(table) == [1, 2] and fold_column(12) == "fold_12"
    for seed in (1, 2):
        scored = [rows_of(table, fold, seed)[1] for fold in range(5)]
        assert sorted(np.concatenate(scored)) == list(range(len(table)))
        for fold, rows in enumerate(scored):
            assert (table[f"fold_{seed}"].iloc[rows] == fold).all()
    with pytest.raises(AssertionError, match="no folds were cut for seed 3"):
        rows_of(table, 0, 3)
    table["fold"] = fold_patients(table, 5, 0)  # a run of an earlier version that got more seeds
    assert folds_of(table, 3) is not None
    assert (table["fold"].iloc[rows_of(table, 4, 3)[1]] == 4).all()
    assert (table["fold_1"].iloc[rows_of(table, 4, 1)[1]] == 4).all()
