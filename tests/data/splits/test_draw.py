"""Laws of a split: patients stay whole, links hold, tumour is everywhere, counts are exact."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.config.sweep import Split
from brainseg.data.formats.detect import find_slices
from brainseg.data.splits.draw import (
    fold_patients,
    locked_and_folds,
    rows_of,
    shared_patients,
    split_by_patient,
    split_by_slice,
    split_from_file,
    split_rows,
    split_table,
    tumour_volumes,
)
from brainseg.report.split_terminal import describe_parts

Splitter = Callable[..., pd.Series]


def made_up_table(
    slices_per_patient: dict[str, list[int]], sites: Sequence[str] = ""
) -> pd.DataFrame:
    """A table without files: the tumour pixels of each slice, and one letter a patient as site."""
    letters = dict(zip(slices_per_patient, sites or [""] * len(slices_per_patient), strict=True))
    rows = [
        (patient, number, area, int(area > 0), letters[patient])
        for patient, areas in slices_per_patient.items()
        for number, area in enumerate(areas, 1)
    ]
    return pd.DataFrame(rows, columns=["patient", "slice", "tumour_pixels", "tumour", "site"])


def growing(count: int, sites: str = "") -> pd.DataFrame:
    """`count` patients of three slices, one of them with tumour, each with more than the last."""
    return made_up_table({f"p{i:03}": [0, 10 * (i + 1), 0] for i in range(count)}, sites)


def patients_in(table: pd.DataFrame, parts: pd.Series) -> dict[object, set[str]]:
    return {part: set(rows["patient"]) for part, rows in table.groupby(parts)}


def counts(table: pd.DataFrame, parts: pd.Series) -> dict[object, int]:
    return {part: len(patients) for part, patients in patients_in(table, parts).items()}


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    return str(error.value)


def test_no_patient_is_in_two_parts() -> None:
    table = growing(30)
    assert shared_patients(table, split_by_patient(table)) == 0


def test_patients_are_counted_by_rounded_fractions() -> None:
    table = growing(24, "DDDDDDDDDHHHHHHHCCCCFFFE")
    for seed in range(5):
        split = split_by_patient(table, seed=seed)
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
        own = site[sorted(patients_in(table, split)[part])].replace({"D": "small", "E": "small"})
        for name, whole in (("A", 40), ("B", 20), ("C", 36), ("small", 4)):
            assert abs((own == name).sum() - share * whole) < 1, (part, name)


def test_the_split_follows_the_seed_and_the_patients_not_the_order_of_rows() -> None:
    table = growing(30, "ABC" * 10)
    split = split_by_patient(table, seed=3)
    mixed = table.sample(frac=1, random_state=0)
    assert split_by_patient(table, seed=3).equals(split)
    assert split_by_patient(mixed, seed=3).sort_index().equals(split)
    assert not split_by_patient(table, seed=4).equals(split)


@pytest.mark.parametrize("seed", range(5))
def test_linked_patients_stay_on_one_side_and_the_counts_stay_exact(seed: int) -> None:
    table = growing(30)
    groups = {"p000": "twins", "p029": "twins", "p007": "p008"}
    split = split_by_patient(table, seed=seed, groups=groups)
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
    split = split_by_patient(table, groups=groups)
    assert counts(table, split) == {"train": 18, "validation": 4, "test": 2}


def test_patients_that_are_all_linked_cannot_be_split() -> None:
    table = growing(4)
    groups = dict.fromkeys(table["patient"], "one")
    assert refused(lambda: split_by_patient(table, groups=groups)) == (
        "linked patients stay on one side, all 4 form 1 group(s), too few to split; "
        "add patients, or remove what links them"
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_few_patients_with_tumour_reach_every_part(seed: int) -> None:
    areas = {f"p{i}": [0, 0] for i in range(12)} | {"q": [5], "r": [7], "s": [9]}
    table = made_up_table(areas)
    split = split_by_patient(table, seed=seed)
    assert (table["tumour"].groupby(split).sum() == 1).all()
    folds = fold_patients(table, 3, seed)
    assert (table["tumour"].groupby(folds).sum() == 1).all()


def test_the_slice_wise_split_has_the_sizes_of_the_report() -> None:
    areas = [0] * 3929
    areas[::3] = [1] * len(areas[::3])
    split = split_by_slice(made_up_table({"p": areas}))
    assert split.value_counts().to_dict() == {"train": 2828, "validation": 708, "test": 393}


@pytest.mark.parametrize("count", [7, 40, 97])
def test_the_slice_wise_split_rounds_up_first_the_test_then_the_validation_part(count: int) -> None:
    table = made_up_table({"p": [1] * count})
    split = split_by_slice(table, validation=0.25, test=0.15, seed=1)
    num_test = math.ceil(0.15 * count)
    assert (split == "test").sum() == num_test
    assert (split == "validation").sum() == math.ceil(0.25 * (count - num_test))


@pytest.mark.parametrize("split", [split_by_patient, split_by_slice])
@pytest.mark.parametrize(
    ("validation", "test"), [(0, 0.1), (1, 0), (0.2, -0.1), (0.6, 0.4), (float("nan"), 0.1)]
)
def test_fractions_that_are_no_shares_are_refused(
    split: Splitter, validation: float, test: float
) -> None:
    message = f"sum below 1, got validation={validation} and test={test}; try 0.2 and 0.1"
    assert message in refused(lambda: split(growing(10), validation=validation, test=test))


def test_fractions_that_leave_no_patient_to_train_on_are_refused() -> None:
    message = "one patient must be left to train on, 2 less 1 for validation and 1 for test"
    assert message in refused(lambda: split_by_patient(growing(2), validation=0.4, test=0.5))


def test_a_single_patient_cannot_be_split() -> None:
    message = "at least one patient must be left to train on, 1 less 1"
    assert message in refused(lambda: split_by_patient(growing(1)))


@pytest.mark.parametrize("split", [split_by_patient, split_by_slice])
def test_a_part_without_tumour_is_refused(split: Splitter) -> None:
    table = made_up_table({f"p{i}": [0] for i in range(10)} | {"q": [5]})
    assert "each part must hold a slice with tumour, t" in refused(lambda: split(table))


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


def test_out_of_the_folds_every_patient_is_seen_by_all_networks_but_those_that_score_it() -> None:
    table = growing(23)
    part = split_by_patient(table)
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
    table["part"] = split_by_patient(table)
    train, validation = rows_of(table)
    assert set(table["part"].iloc[train]) == {"train"}
    assert set(table["part"].iloc[validation]) == {"validation"}
    assert len(train) + len(validation) == (table["part"] != "test").sum()


@pytest.mark.parametrize(
    ("table", "k", "message"),
    [
        (growing(10), 1, "folds must be at least 2, got 1; try 5"),
        (growing(4), 5, "hold a patient (linked ones count once), there are 4 for 5 folds"),
        (
            made_up_table({f"p{i}": [0] for i in range(10)} | {"q": [5], "r": [5]}),
            3,
            "every fold must hold a patient with tumour (linked ones count once), there are 2 "
            "for 3 folds; take 2 folds, or add patients",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(table: pd.DataFrame, k: int, message: str) -> None:
    assert message in refused(lambda: fold_patients(table, k, 0))


@pytest.mark.parametrize("by", ["patients", "slices"])
def test_a_split_written_to_a_file_reads_back_the_same(tmp_path: Path, by: str) -> None:
    table = growing(30).sample(frac=1, random_state=0)
    table["patient"] = table["patient"].replace({"p000": "NA", "p001": "007", "p002": 'a,"b"\nü'})
    split = split_table(table, Split(by=by, seed=3))
    rows = split_rows(table, split)
    assert len(rows) == (30 if by == "patients" else 90)
    rows.to_csv(tmp_path / "split.csv", index=False)
    assert split_table(table, Split(by=str(tmp_path / "split.csv"))).equals(split)


FOUR = "a,train\nb,train\nc,validation\nd,test\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a split must be a CSV file, {path} is not (No columns to parse from file)"),
        (
            "patient,part\n",
            "must have the columns patient,split or patient,slice,split, {path} has patient,part",
        ),
        (
            "patient,split\na,val\n",
            "{path}: split must be one of train, validation, test, 1 other: val; correct the file",
        ),
        ("patient,split\na\n" + FOUR, "must be one of train, validation, test, 1 other: "),
        (
            "patient,split\ne,train\nf,train\n" + FOUR,
            "{path} must name every patient of the data and no other, 2 not in the data: e, f",
        ),
        ("patient,split\na,train\nc,validation\n", "no other, 2 missing in the file: b, d; corr"),
        (
            "patient,split\na,test\n" + FOUR,
            "{path}: a patient must be in one part, 1 in two: a; correct the file",
        ),
        (
            "patient,split\n" + FOUR.replace("validation", "train"),
            "{path} must hold a slice of part 'validation', it holds none; add some",
        ),
        ("patient,slice,split\na,one,train\n", "slice must be a whole number, 1 other: one"),
        ("patient,slice,split\na,9,train\n", "patient and slice of the data and no other, 1 not "),
        (
            "patient,slice,split\na,1,train\na,2,test\na,1,test\n",
            "{path}: a patient and slice must be in one part, 1 in two: a slice 1; correct",
        ),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = made_up_table({patient: [0, 5] for patient in "abcd"})
    path = tmp_path / "split.csv"
    path.write_text(text)
    assert message.format(path=path) in refused(lambda: split_from_file(table, path))


def test_a_split_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.csv"
    assert refused(lambda: split_from_file(growing(4), path)) == (
        f"a split must be a CSV file, {path} is not (No such file or directory)"
    )


def test_a_split_file_that_parts_linked_patients_is_refused(tmp_path: Path) -> None:
    table = made_up_table({patient: [0, 5] for patient in "abcd"})
    path = tmp_path / "split.csv"
    path.write_text("patient,split\n" + FOUR)
    assert refused(lambda: split_from_file(table, path, groups={"a": "x", "c": "x"})) == (
        f"{path}: linked patients must share a part, 1 in two: x; correct the file"
    )


def test_a_patient_may_be_in_two_parts_where_the_file_goes_by_slices(tmp_path: Path) -> None:
    table = made_up_table({"a": [5, 5, 0], "b": [5]})
    path = tmp_path / "split.csv"
    path.write_text("patient,slice,split\na,1,train\na,2,validation\na,3,train\nb,1,train\n")
    split = split_from_file(table, path)
    assert split.tolist() == ["train", "validation", "train", "train"]
    assert shared_patients(table, split) == 1


def test_volumes_are_millilitres_where_the_spacing_is_known() -> None:
    table = growing(2).assign(row_mm=0.5, column_mm=0.5, slice_mm=4.0)
    volumes, unit = tumour_volumes(table)
    assert unit == "ml" and volumes.tolist() == [0, 0.01, 0, 0, 0.02, 0]
    table.loc[0, "slice_mm"] = float("nan")
    assert tumour_volumes(table)[1] == "pixels"


def test_real_patients_are_split_with_tumour_and_sites_in_balance(lgg: Path) -> None:
    table = find_slices(lgg)
    parts = describe_parts(table, split_by_patient(table)).set_index("part")
    assert parts["patients"].to_dict() == {"train": 17, "validation": 5, "test": 2}
    assert (parts["tumour_slices"] > 0).all()
    assert "DU 2" in parts.loc["validation", "sites"]
    medians = describe_parts(table, "fold " + fold_patients(table, 4, 0).astype(str))[
        "volume_median"
    ]
    assert medians.max() < 2 * medians.min()
