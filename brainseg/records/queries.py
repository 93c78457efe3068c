"""Questions about a run's trials: what varies, which trials are one configuration."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.records.run import TrialRecord


def leaks(sweep: Mapping[str, Any]) -> bool:
    """Whether some patient has slices in more than one part of the split."""
    return bool(sweep["split"]["shared_patients"] > 0)


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


def in_folds(sweep: Mapping[str, Any]) -> int:
    """Over how many folds each point of a sweep is trained; 0 if over none."""
    return int(sweep["strategy"].get("folds", 0))
