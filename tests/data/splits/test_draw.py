"""Laws of a split: patients stay whole, links hold, tumour is everywhere, counts are exact."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.splits.draw import (
    fold_patients,
    shared_patients,
    split_by_patient,
    split_by_slice,
)
from brainseg.report.split_terminal import describe_parts
from tests.support.tables import counts, growing, made_up_table, patients_in, refused

Splitter = Callable[..., pd.Series]


def test_no_patient_is_in_two_parts() -> None:
    table = growing(30)
    assert shared_patients(table, split_by_patient(table, test=0.1)) == 0


def test_patients_are_counted_by_rounded_fractions() -> None:
    table = growing(24, "DDDDDDDDDHHHHHHHCCCCFFFE")
    for seed in range(5):
        split = split_by_patient(table, seed=seed, test=0.1)
        assert counts(table, split) == {"train": 17, "validation": 5, "test": 2}


def test_one_patient_validates_even_where_the_fraction_rounds_to_none() -> None:
    table = growing(2)
    assert counts(table, split_by_patient(table, test=0)) == {"train": 1, "validation": 1}


@pytest.mark.parametrize("seed", range(5))
def test_each_stratum_of_tumour_volume_gives_one_patient(seed: int) -> None:
    table = growing(50)
    split = split_by_patient(table, test=0.1, validation=0.2, seed=seed)
    rank = 49 - table["patient"].str[1:].astype(int)  # 0: the largest tumour
    tested = sorted(rank[split == "test"].unique())
    assert [r // 10 for r in tested] == [0, 1, 2, 3, 4]
    rest = sorted(set(rank) - set(tested))
    validated = [rest.index(r) for r in sorted(rank[split == "validation"].unique())]
    strata = np.array_split(np.arange(45), 10)
    assert all(v in stratum for v, stratum in zip(validated, strata, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_each_large_site_gives_its_share_and_the_small_ones_theirs_together(seed: int) -> None:
    sites = "A" * 40 + "B" * 20 + "C" * 36 + "D" * 2 + "E" * 2
    table = growing(100, "".join(np.random.default_rng(1).permutation(list(sites))))
    split = split_by_patient(table, validation=0.2, test=0.1, seed=seed)
    site = table.groupby("patient")["site"].first()
    for part, share in (("validation", 0.2), ("test", 0.1)):
        part_sites = site[sorted(patients_in(table, split)[part])].replace(
            {"D": "small", "E": "small"}
        )
        for name, whole in (("A", 40), ("B", 20), ("C", 36), ("small", 4)):
            assert abs((part_sites == name).sum() - share * whole) < 1, (part, name)


def test_the_split_follows_the_seed_and_the_patients_not_the_order_of_rows() -> None:
    table = growing(30, "ABC" * 10)
    split = split_by_patient(table, seed=3, test=0.1)
    mixed = table.sample(frac=1, random_state=0)
    assert split_by_patient(table, seed=3, test=0.1).equals(split)
    assert split_by_patient(mixed, seed=3, test=0.1).sort_index().equals(split)
    assert not split_by_patient(table, seed=4, test=0.1).equals(split)


@pytest.mark.parametrize("seed", range(5))
def test_linked_patients_stay_on_one_side_and_the_counts_stay_exact(seed: int) -> None:
    table = growing(30)
    groups = {"p000": "twins", "p029": "twins", "p007": "p008"}
    split = split_by_patient(table, seed=seed, groups=groups, test=0.1)
    part = split.groupby(table["patient"]).first()
    assert part["p000"] == part["p029"] and part["p007"] == part["p008"]
    assert counts(table, split) == {"train": 21, "validation": 6, "test": 3}
    folds = fold_patients(table, 4, seed, groups)
    fold = folds.groupby(table["patient"]).first()
    assert fold["p000"] == fold["p029"] and fold["p007"] == fold["p008"]
    assert sorted(counts(table, folds).values()) == [7, 7, 8, 8]


def test_pairs_alone_are_split_as_near_to_the_fractions_as_pairs_go() -> None:
    table = growing(24)
    groups = {f"p{i:03}": f"pair {i // 2}" for i in range(24)}
    split = split_by_patient(table, groups=groups, test=0.1)
    assert counts(table, split) == {"train": 18, "validation": 4, "test": 2}


def test_patients_that_are_all_linked_cannot_be_split() -> None:
    table = growing(4)
    groups = dict.fromkeys(table["patient"], "one")
    assert refused(lambda: split_by_patient(table, groups=groups, test=0.1)) == (
        "linked patients must stay in one part, all 4 form 1 group(s), too few to split; "
        "add patients, or remove what links them"
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_few_patients_with_tumour_reach_every_part(seed: int) -> None:
    areas = {f"p{i}": [0, 0] for i in range(12)} | {"q": [5], "r": [7], "s": [9]}
    table = made_up_table(areas)
    split = split_by_patient(table, seed=seed, test=0.1)
    assert (table["tumour"].groupby(split).sum() == 1).all()
    folds = fold_patients(table, 3, seed)
    assert (table["tumour"].groupby(folds).sum() == 1).all()


def test_the_slice_wise_split_has_the_sizes_of_the_report() -> None:
    areas = [0] * 3929
    areas[::3] = [1] * len(areas[::3])
    split = split_by_slice(made_up_table({"p": areas}), test=0.1)
    assert split.value_counts().to_dict() == {"train": 2828, "validation": 708, "test": 393}


@pytest.mark.parametrize("count", [7, 40, 97])
def test_the_slice_wise_split_rounds_up_first_the_test_then_the_validation_part(count: int) -> None:
    table = made_up_table({"p": [1] * count})
    split = split_by_slice(table, validation=0.25, test=0.15, seed=1)
    num_test = math.ceil(0.15 * count)
    assert (split == "test").sum() == num_test
    assert (split == "validation").sum() == math.ceil(0.25 * (count - num_test))


def test_fractions_that_leave_no_patient_to_train_on_are_refused() -> None:
    message = "one patient must be left for training, 2 minus 1 for validation and 1 for test"
    assert message in refused(lambda: split_by_patient(growing(2), validation=0.4, test=0.5))


def test_a_single_patient_cannot_be_split() -> None:
    message = "at least one patient must be left for training, 1 minus 1"
    assert message in refused(lambda: split_by_patient(growing(1), test=0.1))


@pytest.mark.parametrize("split", [split_by_patient, split_by_slice])
def test_a_part_without_tumour_is_refused(split: Splitter) -> None:
    table = made_up_table({f"p{i}": [0] for i in range(10)} | {"q": [5]})
    assert "each part must hold a slice with tumour, " in refused(lambda: split(table))


def test_real_patients_are_split_with_tumour_and_sites_in_balance(lgg: Path) -> None:
    table = find_slices(lgg)
    parts = describe_parts(table, split_by_patient(table, test=0.1)).set_index("part")
    assert parts["patients"].to_dict() == {"train": 17, "validation": 5, "test": 2}
    assert (parts["tumour_slices"] > 0).all()
    assert "DU 2" in parts.loc["validation", "sites"]
    medians = describe_parts(table, "fold " + fold_patients(table, 4, 0).astype(str))[
        "volume_median"
    ]
    assert medians.max() < 2 * medians.min()
