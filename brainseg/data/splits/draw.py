"""Draw a split: every slice is for training, for validation, or locked for the test.

Shapes: U units of patients that stay together, see data/splits/stratify.py.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.config.sweep import Split
from brainseg.data.persons import composed
from brainseg.data.readers.delimited import header, read_rows
from brainseg.data.readers.problems import Refused
from brainseg.data.splits.stratify import Units, deal, draw
from brainseg.data.table import tumour_volumes

PARTS = ("train", "validation", "test")
Groups = Mapping[str, str]  # patient -> name of its group, which stays in one part
NEEDED = ("patient", "split")  # columns of a split file


def split_table(table: pd.DataFrame, split: Split, groups: Groups | None = None) -> pd.Series:
    """Return 'train', 'validation' or 'test' for each row, as ``split`` asks."""
    validation, test, seed = split.validation, split.test, split.seed
    if split.by == "patients":
        return split_by_patient(table, validation=validation, test=test, seed=seed, groups=groups)
    if split.by == "slices":
        return split_by_slice(table, validation=validation, test=test, seed=seed)
    return split_from_file(table, Path(split.by), groups=groups)


def split_by_patient(
    table: pd.DataFrame,
    *,
    validation: float = Split.validation,
    test: float = Split.test,
    seed: int = 0,
    groups: Groups | None = None,
) -> pd.Series:
    """Return 'train', 'validation' or 'test' for each row; no patient is in two parts.

    Fractions are of the patients, rounded, with at least one for validation; linked patients
    stay together, so a part may be off by as many as are linked. The draw depends on patients,
    volumes, sites and seed, not on the order of the rows.

    Raises:
        ValueError: no patient is left for training, or a part has no tumour.
    """
    units = _units(table, groups)
    num_patients = int(units.sites_US.sum())
    num_test = round(test * num_patients)
    num_validation = max(1, round(validation * num_patients))
    _refuse_empty_training("patient", num_patients, num_validation, num_test)
    if len(units.names) < 2 + (num_test > 0):
        raise ValueError(
            f"linked patients must stay in one part, all {num_patients} form {len(units.names)} "
            "group(s), too few to split; add patients, or remove what links them"
        )
    rng = np.random.default_rng(seed)
    tested = draw(units, num_test, still_to_come=2, rng=rng)
    rest = units.only(~tested)
    validated = draw(rest, num_validation, still_to_come=1, rng=rng)
    part = dict.fromkeys(units.names, "train")
    part |= dict.fromkeys(units.only(tested).names, "test")
    part |= dict.fromkeys(rest.only(validated).names, "validation")
    return _with_tumour_in_each(table, [part[name] for name in _unit_of(table, groups)])


def split_by_slice(
    table: pd.DataFrame,
    *,
    validation: float = Split.validation,
    test: float = Split.test,
    seed: int = 0,
) -> pd.Series:
    """Return 'train', 'validation' or 'test' for each row, drawn by slice: this split leaks.

    Neighbouring slices of a patient fall into different parts, so copying the nearest training
    mask already scores about 0.79 micro Dice. It exists to compare with the report: test is the
    fraction of all slices, validation that of the rest, both rounded up (as in scikit-learn).

    Raises:
        ValueError: no slice is left for training, or a part has no tumour.
    """
    num_test = math.ceil(test * len(table))
    num_validation = math.ceil(validation * (len(table) - num_test))
    _refuse_empty_training("slice", len(table), num_validation, num_test)
    order = np.random.default_rng(seed).permutation(len(table))
    split = np.full(len(table), "train", dtype="<U10")
    split[order[:num_test]] = "test"
    split[order[num_test : num_test + num_validation]] = "validation"
    return _with_tumour_in_each(table, split.tolist())


def fold_patients(
    table: pd.DataFrame, k: int, seed: int | Sequence[int], groups: Groups | None = None
) -> pd.Series:
    """Return each row's fold, 0 to k - 1; no patient is in two folds, every fold has tumour.

    Folds are alike in size (to one patient if none are linked), tumour volume and site.

    Args:
        seed: of the split; or that and a training's, which cuts other folds for each.

    Raises:
        ValueError: fewer patients than folds, or fewer with tumour.
    """
    units = _units(table, groups)
    with_tumour = int((units.volumes_U > 0).sum())
    assert k > 1, "a Split has two folds at least"
    for count, kind in ((len(units.names), ""), (with_tumour, " with tumour")):
        if count < k:
            raise ValueError(
                f"every fold must hold a patient{kind} (linked ones count once), there are "
                f"{count} for {k} folds; use {max(count, 2)} folds, or add patients"
            )
    fold_U = deal(units, k, np.random.default_rng(seed))
    fold = dict(zip(units.names, fold_U.tolist(), strict=True))
    folds = [fold[name] for name in _unit_of(table, groups)]
    return pd.Series(folds, index=table.index, name="fold")


def locked_and_folds(
    table: pd.DataFrame,
    parts: pd.Series,
    k: int,
    seed: int | Sequence[int],
    groups: Groups | None = None,
) -> pd.Series:
    """Return each row's fold, 0 to k - 1, or -1 if ``parts`` locks it for the test.

    Raises:
        ValueError: a split by slices, or as for ``fold_patients``.
    """
    if shared_patients(table, parts):
        raise ValueError("folds divide patients, this split is by slices; use --split patients")
    folds = fold_patients(table[parts != "test"], k, seed, groups)
    return folds.reindex(table.index, fill_value=-1)


def split_from_file(table: pd.DataFrame, path: Path, *, groups: Groups | None = None) -> pd.Series:
    """Return each row's part, read from a CSV with columns patient,split or patient,slice,split.

    Raises:
        ValueError: no such file, other columns, a part of another name, a patient (or slice) that
            is only in the file, only in the table or in two parts, linked patients in two parts,
            no training or validation slice, or a part without tumour.
    """
    rows = _read_split_file(path)
    keys = ["patient", "slice"] if "slice" in rows else ["patient"]
    unit = " and ".join(keys)
    named = rows.groupby(keys)["split"].agg(["first", "nunique"])
    _refuse_any(
        named.index[named["nunique"] > 1], f"{path}: a {unit} must be in one part", "in two"
    )
    patients = table["patient"].map(_as_in_file)
    slices = table[keys].assign(patient=patients)
    wanted = pd.MultiIndex.from_frame(slices) if len(keys) > 1 else pd.Index(patients)
    rule = f"{path} must name every {unit} of the data and no other"
    _refuse_any(named.index[~named.index.isin(wanted)], rule, "not in the data")
    _refuse_any(wanted[~wanted.isin(named.index)].unique(), rule, "missing in the file")
    split = pd.Series(named["first"].reindex(wanted).tolist(), index=table.index, name="split")
    for part in ("train", "validation"):
        if not (split == part).any():
            raise ValueError(f"{path} must hold a slice of part {part!r}, it holds none; add some")
    if len(keys) == 1:
        sides = split.groupby(_unit_of(table, groups)).nunique()
        parted = pd.Index(_members(table, groups, str(name)) for name in sides.index[sides > 1])
        _refuse_any(parted, f"{path}: linked patients must share a part", "in two")
    return _with_tumour_in_each(table, split.tolist())


def split_rows(table: pd.DataFrame, parts: pd.Series) -> pd.DataFrame:
    """What ``split_from_file`` reads: a row for each patient, or each slice if the split leaks."""
    rows = table[["patient", "slice"]].assign(split=parts)
    if shared_patients(table, parts):
        return rows
    return rows.drop(columns="slice").drop_duplicates("patient")


def shared_patients(table: pd.DataFrame, parts: pd.Series) -> int:
    """How many patients have slices in more than one part; if there are any, the split leaks."""
    return int((parts.groupby(table["patient"]).nunique() > 1).sum())


def _units(table: pd.DataFrame, groups: Groups | None) -> Units:
    unit = _unit_of(table, groups)
    volumes = tumour_volumes(table)[0].groupby(unit).sum().round(6)
    order = sorted(volumes.index, key=lambda name: (-volumes[name], name))
    patients = pd.DataFrame({"patient": table["patient"], "unit": unit, "site": _sites(table)})
    patients = patients.groupby("patient").min()
    sites = pd.crosstab(patients["unit"], patients["site"]).loc[order]
    return Units(order, volumes[order].to_numpy(float), sites.to_numpy())


def _unit_of(table: pd.DataFrame, groups: Groups | None) -> pd.Series:
    """Each row's group: that of its patient, else the patient itself."""
    return table["patient"].map(lambda patient: (groups or {}).get(patient, patient))


def _members(table: pd.DataFrame, groups: Groups | None, name: str) -> str:
    """The patients of a group, `P1_t0 with P1_t1`."""
    return " with ".join(sorted(set(table["patient"][_unit_of(table, groups) == name])))


def _sites(table: pd.DataFrame) -> pd.Series:
    return table["site"] if "site" in table else pd.Series("", index=table.index)


def _as_in_file(patient: str) -> str:
    """A patient's name as a table has it: in one spelling, without spaces around it."""
    return composed(patient).strip()


def _read_split_file(path: Path) -> pd.DataFrame:
    """The rows of a split file, slices as numbers; ValueError for anything else."""
    listed, problems = read_rows(path, str(path), NEEDED)
    if problems:
        raise Refused(problems[0])
    rows = pd.DataFrame([row.cells for row in listed], columns=header(path, NEEDED), dtype=str)
    if set(rows) not in ({"patient", "split"}, {"patient", "slice", "split"}):
        raise ValueError(
            "a split file must have the columns patient,split or patient,slice,split, "
            f"{path} has {','.join(rows.columns)}; rename them"
        )
    rows["patient"] = rows["patient"].map(_as_in_file)
    odd = rows.loc[~rows["split"].isin(PARTS), "split"]
    _refuse_any(pd.Index(odd.unique()), f"{path}: split must be one of {', '.join(PARTS)}", "other")
    if "slice" in rows:
        odd = rows.loc[~rows["slice"].str.fullmatch(r"\d{1,9}"), "slice"]
        _refuse_any(pd.Index(odd.unique()), f"{path}: slice must be a whole number", "other")
        rows["slice"] = rows["slice"].astype(int)
    return rows


def _with_tumour_in_each(table: pd.DataFrame, parts: list[str]) -> pd.Series:
    split = pd.Series(parts, index=table.index, name="split")
    tumour = table["tumour"].groupby(split).sum()
    for part in tumour.index[tumour == 0]:
        raise ValueError(
            f"each part must hold a slice with tumour, {part} of {(split == part).sum()} slices "
            "holds none; use another seed or a larger fraction"
        )
    return split


def _refuse_any(breach: pd.Index, rule: str, what: str) -> None:
    """Raise a ValueError that counts what breaks the rule and names the first three."""
    if len(breach):
        shown = [
            " slice ".join(map(str, x)) if isinstance(x, tuple) else str(x) for x in breach[:3]
        ]
        named = ", ".join(shown) + (", ..." if len(breach) > 3 else "")
        raise ValueError(f"{rule}, {len(breach)} {what}: {named}; correct the file")


def _refuse_empty_training(unit: str, total: int, num_validation: int, num_test: int) -> None:
    if num_validation + num_test >= total:
        raise ValueError(
            f"at least one {unit} must be left for training, {total} minus {num_validation} for "
            f"validation and {num_test} for test leave none; add {unit}s or lower the fractions"
        )
