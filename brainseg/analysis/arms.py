"""Which trials are one model with other seeds and folds, and what to call each of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from brainseg.data.table import read_table
from brainseg.records.run import Run, TrialRecord, read_json

REPEATS = ("seed", "fold")  # trials that differ in these alone are one arm, trained repeatedly
# What config.arm says already.
SAID = (
    *("model", "model.plain.width", "model.encoder.name", "model.encoder.decoder"),
    *("model.encoder.weights", "model.encoder.freeze", "model.encoder.freeze.first.blocks"),
    "model.encoder.layer_decay",
)


def varied_paths(records: Sequence[TrialRecord]) -> list[str]:
    """The paths on which trials differ and that ``config.arm`` does not say.

    A path that some trials do not have varies if those that have it differ.
    """
    return [path for path in values_tried(records) if path not in SAID]


def values_tried(records: Sequence[TrialRecord]) -> dict[str, list[Any]]:
    """The values at each path on which trials differ, in the order in which they were tried."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for path, value in record.params.items():
            own = values.setdefault(path, [])
            own += [value] * (value not in own)
    return {path: own for path, own in values.items() if len(own) > 1}


def varied_between_arms(records: Sequence[TrialRecord]) -> list[str]:
    """The same of arms: without the seed and the fold, which differ within each."""
    return [path for path in varied_paths(records) if path not in REPEATS]


def in_words(params: Mapping[str, Any], paths: Sequence[str]) -> str:
    """The values at ``paths``, as `triangular, cycle_epochs 6, lr 0.0012, seed 1`."""
    words = []
    for path in paths:
        value, name = params.get(path), path.rpartition(".")[2]
        if value is None or (path == "lr" and value == "given"):
            continue
        if path.endswith(".lr") and params.get("lr") == "auto":
            continue  # a range test found another
        text = f"{value:.2g}" if isinstance(value, float) else str(value)
        words.append(text if path in ("schedule", "loss", "optimizer") else f"{name} {text}")
    return ", ".join(words)


def named(arm: str, varied: str) -> str:
    """A trial or an arm in words: its model, and what else distinguishes it in its run."""
    return f"{arm}; {varied}" if varied else arm


def seed_groups(records: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    """The trials that differ in their seed and their fold alone, together: an arm each."""
    alike: dict[str, list[TrialRecord]] = {}
    for record in records:
        own = {path: value for path, value in record.params.items() if path not in REPEATS}
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(record)
    return list(alike.values())


def over_seeds(run: Run) -> pd.DataFrame:
    """One row for trials that differ in their seed and fold alone, best mean ``dice`` first.

    ``dice_low`` and ``dice_high`` are the lowest and the highest of the ``seeds``; ``dice_sd`` is
    their standard deviation (n - 1), NaN for one seed. A seed's Dice is its trial's best; of a
    sweep in folds it is the mean over all ``patients`` out of fold, at the last epoch, and a seed
    counts once every fold of it is done. ``trial`` is the arm's first. Empty where no
    configuration was trained with two seeds, or in folds.
    """
    folds = in_folds(read_json(run.sweep))
    records = [r for r in run.trials() if r.state != "failed" and r.dice is not None]
    paths = varied_between_arms(records)
    rows = []
    for group in seed_groups(records):
        whole = out_of_fold(run, group, folds) if folds else {}
        dice = {seed: own["dice"].mean() for seed, own in whole.items()}
        scores = list(dice.values()) if folds else [record.dice for record in group]
        if scores:
            patients = max(map(len, whole.values()), default=0)
            rows.append(_arm_row(group, paths, pd.Series(scores)) | {"patients": patients})
    rows.sort(key=lambda row: -row["dice"])
    return pd.DataFrame(rows if folds or any(row["seeds"] > 1 for row in rows) else [])


def _arm_row(
    group: Sequence[TrialRecord], paths: Sequence[str], dice: "pd.Series[float]"
) -> dict[str, Any]:
    """An arm's place among others, from the Dice of each of its seeds."""
    return {
        "trial": group[0].trial,
        "arm": group[0].arm,
        "varied": in_words(group[0].params, paths),
        "seeds": len(dice),
        "dice": dice.mean(),
        "dice_sd": dice.std(),
        "dice_low": dice.min(),
        "dice_high": dice.max(),
        "best_epoch": pd.Series([record.best_epoch for record in group]).mean(),
    }


def in_folds(sweep: Mapping[str, Any]) -> int:
    """Over how many folds each point of a sweep is trained; 0 if over none."""
    return int(sweep["strategy"].get("folds", 0))


def out_of_fold(run: Run, group: Sequence[TrialRecord], folds: int) -> dict[int, pd.DataFrame]:
    """By seed, a row a patient as the trial scored them that never saw them, at the last epoch.

    The column fold says which one. Only seeds of which every fold is done, so that each arm is
    scored on the same patients. A sweep that is not in folds has one.
    """
    tables: dict[int, list[pd.DataFrame]] = {}
    for record in group:
        if record.state == "done" and (last := run.trial(record.trial).last).exists():
            own = read_table(last).assign(fold=record.params.get("fold", 0))
            tables.setdefault(record.params["seed"], []).append(own)
    return {
        seed: pd.concat(own, ignore_index=True) for seed, own in tables.items() if len(own) == folds
    }
