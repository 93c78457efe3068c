"""Questions about a run's trials: what varies, which trials share a configuration."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.records.run import TrialRecord
from brainseg.records.trial_state import TrialState

REPEATS = ("seed", "fold")  # a configuration is trained with several values of these
FAILURES_SHOWN = 5  # of many failed trials, in one sentence
REASON_LENGTH = 120  # characters
# Part of a configuration's name already, see config.hyperparameters.
NAMED = (
    *("model", "model.plain.width", "model.encoder.name", "model.encoder.decoder"),
    *("model.encoder.weights", "model.encoder.freeze", "model.encoder.freeze.first.blocks"),
    "model.encoder.layer_decay",
)


def leaks(sweep: Mapping[str, Any]) -> bool:
    """Whether some patient has slices in more than one part of the split."""
    return bool(sweep["split"]["shared_patients"] > 0)


def fold_count(sweep: Mapping[str, Any]) -> int:
    """Over how many folds a sweep trains each configuration; 0 if over none."""
    return int(sweep["strategy"].get("folds", 0))


def parts_in_words(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What each part of a split holds, from the ``counts`` of sweep.json: a line a part."""
    folds = [name for name in counts if name.startswith("fold")]
    return [
        f"{_folds_in_words(counts[name]) if name == 'folds' else name} "
        f"{_counted(counts[name]['patients'], 'patient')} / "
        f"{_counted(counts[name]['slices'], 'slice')}"
        for name in ("train", "validation", "test", *folds)
        if name in counts
    ]


def _folds_in_words(folds: Mapping[str, int]) -> str:
    """`5 folds of 17 to 18 patients, cut anew for each seed:`."""
    fewest, most = folds["fewest"], folds["most"]
    size = _counted(most, "patient") if fewest == most else f"{fewest} to {most} patients"
    return f"{folds['folds']} folds of {size}, cut anew for each seed:"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def is_list(sweep: Mapping[str, Any]) -> bool:
    """Whether a sweep trains a list of points, each to its last epoch, which is the one scored."""
    return bool(sweep["strategy"].get("kind") == "points")


def has_score(records: Sequence[TrialRecord]) -> bool:
    """Whether some trial that has not failed has a Dice."""
    return any(r.dice is not None and r.state != TrialState.FAILED for r in records)


def failures(records: Sequence[TrialRecord]) -> str:
    """Which trials failed, as `2 of 8 trials failed: 0003 (REASON), 0005 (REASON)`; "" if none."""
    failed = [record for record in records if record.state == TrialState.FAILED]
    if not failed:
        return ""
    named = [f"{r.trial} ({_shortened(r.reason)})" for r in failed[:FAILURES_SHOWN]]
    more = len(failed) - len(named)
    return (
        f"{len(failed)} of {len(records)} trial{'s' * (len(records) != 1)} failed: "
        + ", ".join(named)
        + (f" and {more} more" if more else "")
    )


def _shortened(reason: str) -> str:
    words = " ".join(reason.split())
    return words if len(words) <= REASON_LENGTH else words[: REASON_LENGTH - 4] + " ..."


def values_tried(records: Sequence[TrialRecord]) -> dict[str, list[Any]]:
    """The values at each path on which trials differ, in the order of the trials' names.

    Not of their starts: side by side, or in a sweep that was interrupted, that order is chance.
    """
    values: dict[str, list[Any]] = {}
    for record in sorted(records, key=lambda record: record.trial):
        for path, value in record.params.items():
            tried = values.setdefault(path, [])
            tried += [value] * (value not in tried)
    return {path: tried for path, tried in values.items() if len(tried) > 1}


def varied_paths(records: Sequence[TrialRecord]) -> list[str]:
    """The paths on which trials differ, without those that are part of their names.

    A path that some trials do not have varies if those that have it differ.
    """
    return [path for path in values_tried(records) if path not in NAMED]


def varied_between_configurations(records: Sequence[TrialRecord]) -> list[str]:
    """The same without seed and fold, which differ within a configuration."""
    return [path for path in varied_paths(records) if path not in REPEATS]


def in_words(params: Mapping[str, Any], paths: Sequence[str]) -> str:
    """The values at ``paths``, as `triangular, cycle_epochs 6, lr 0.0012, seed 1`."""
    words = []
    for path in paths:
        value, name = params.get(path), path.rpartition(".")[2]
        if value is None or (path == "lr" and value == "given"):
            continue
        if path.endswith(".lr") and params.get("lr") == "auto":
            continue  # a range test found another rate
        text = f"{value:.2g}" if isinstance(value, float) else str(value)
        words.append(text if path in ("schedule", "loss", "optimizer") else f"{name} {text}")
    return ", ".join(words)


def full_name(name: str, varied: str) -> str:
    """A name with what else distinguishes a trial or a configuration in its run."""
    return f"{name}; {varied}" if varied else name


def by_configuration(records: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    """The trials of each configuration: they differ in seed and fold alone."""
    groups: dict[str, list[TrialRecord]] = {}
    defaults = flatten(TrialConfig())  # not named by trials of a version that lacked the path
    for record in records:
        params = {
            path: value
            for path, value in record.params.items()
            if path not in REPEATS and value != defaults.get(path)
        }
        groups.setdefault(json.dumps(params, sort_keys=True), []).append(record)
    return list(groups.values())
