"""Which trials are one model with other seeds, and what to call each among the others."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from brainseg.records import Run, TrialRecord

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
    values: dict[str, set[Any]] = {}
    for record in records:
        for path, value in record.params.items():
            values.setdefault(path, set()).add(value)
    return [path for path, seen in values.items() if len(seen) > 1 and path not in SAID]


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
    """The trials that differ in their seed alone, together."""
    alike: dict[str, list[TrialRecord]] = {}
    for record in records:
        own = {path: value for path, value in record.params.items() if path != "seed"}
        alike.setdefault(json.dumps(own, sort_keys=True), []).append(record)
    return list(alike.values())


def over_seeds(run: Run) -> pd.DataFrame:
    """One row for trials that differ in their seed alone, best mean ``dice`` first.

    ``dice_low`` and ``dice_high`` are the lowest and the highest of the ``seeds``; ``dice_sd`` is
    their standard deviation (n - 1), NaN for one seed. Empty where no configuration was trained
    with two seeds.
    """
    records = [r for r in run.trials() if r.state != "failed" and r.dice is not None]
    paths = [path for path in varied_paths(records) if path != "seed"]
    rows = []
    for group in seed_groups(records):
        dice = pd.Series([record.dice for record in group])
        rows.append(
            {
                "arm": group[0].arm,
                "varied": in_words(group[0].params, paths),
                "seeds": len(group),
                "dice": dice.mean(),
                "dice_sd": dice.std(),
                "dice_low": dice.min(),
                "dice_high": dice.max(),
                "best_epoch": pd.Series([record.best_epoch for record in group]).mean(),
            }
        )
    rows.sort(key=lambda row: -row["dice"])
    return pd.DataFrame(rows if any(row["seeds"] > 1 for row in rows) else [])
