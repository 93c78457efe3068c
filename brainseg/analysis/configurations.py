"""What each configuration scored over its seeds and folds."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import (
    by_configuration,
    fold_count,
    in_words,
    is_list,
    varied_between_configurations,
)
from brainseg.records.run import TrialRecord
from brainseg.records.trial_state import TrialState


def over_seeds(run: RunSnapshot) -> pd.DataFrame:
    """One row a configuration, best mean ``dice`` first.

    ``dice_low`` and ``dice_high`` are the lowest and the highest of the ``seeds``; ``dice_sd`` is
    their standard deviation (n - 1), NaN for one seed. Of a fixed list, a seed's Dice is the mean
    over patients at the last epoch, as in a comparison, and a seed counts once every fold of it is
    done; ``patients`` are those out of fold, 0 without folds. Of a search it is its trial's best.
    ``trial`` is the configuration's first. Empty where no configuration was trained with two seeds,
    or in folds.
    """
    folds, listed = fold_count(run.sweep), is_list(run.sweep)
    records = [r for r in run.records if r.state != TrialState.FAILED and r.dice is not None]
    paths = varied_between_configurations(records)
    rows = []
    for group in by_configuration(records):
        tables = by_person(run, group, max(folds, 1)) if listed else {}
        means = [table["dice"].mean() for table in tables.values()]
        scores = means if listed else [record.dice for record in group]
        if scores:
            patients = max(map(len, tables.values())) if folds else 0
            rows.append(_row(group, paths, pd.Series(scores)) | {"patients": patients})
    rows.sort(key=lambda row: -row["dice"])
    return pd.DataFrame(rows if folds or any(row["seeds"] > 1 for row in rows) else [])


def _row(
    group: Sequence[TrialRecord], paths: Sequence[str], dice: "pd.Series[float]"
) -> dict[str, Any]:
    """A configuration's row, from the Dice of each of its seeds."""
    return {
        "trial": group[0].trial,
        "arm": group[0].configuration,
        "varied": in_words(group[0].params, paths),
        "seeds": len(dice),
        "dice": dice.mean(),
        "dice_sd": dice.std(),
        "dice_low": dice.min(),
        "dice_high": dice.max(),
        "best_epoch": pd.Series([record.best_epoch for record in group]).mean(),
    }


def by_person(
    run: RunSnapshot, group: Sequence[TrialRecord], folds: int
) -> dict[int, pd.DataFrame]:
    """The Dice and the fold of each person by seed; their scans are in one fold."""
    return {
        seed: table.groupby(table["patient"].map(run.person))[["dice", "fold"]].mean()
        for seed, table in out_of_fold(run, group, folds).items()
    }


def out_of_fold(
    run: RunSnapshot, group: Sequence[TrialRecord], folds: int
) -> dict[int, pd.DataFrame]:
    """By seed, a row a patient, scored at the last epoch by the trial that did not train on them.

    The column fold says which trial that is. Only seeds of which every fold is done, so that each
    configuration is scored on the same patients. A sweep that is not in folds has one fold.
    """
    tables: dict[int, list[pd.DataFrame]] = {}
    for record in group:
        last = run.trials[record.trial].last
        if record.state == TrialState.DONE and last is not None:
            table = last.assign(fold=record.params.get("fold", 0))
            tables.setdefault(record.params["seed"], []).append(table)
    return {
        seed: pd.concat(of_folds, ignore_index=True)
        for seed, of_folds in tables.items()
        if len(of_folds) == folds
    }
