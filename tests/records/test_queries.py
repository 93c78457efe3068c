"""Trials of a run are one configuration, or several, by their hyperparameters."""

from dataclasses import replace
from typing import Any

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.records.queries import (
    by_configuration,
    failures,
    has_score,
    parts_in_words,
    varied_paths,
)
from brainseg.records.run import TrialRecord
from brainseg.records.trial_state import TrialState


def record(trial: str, **changes: Any) -> TrialRecord:
    params = flatten(TrialConfig()) | {name.replace("__", "."): v for name, v in changes.items()}
    return TrialRecord(trial, "done", params={k: v for k, v in params.items() if v is not None})


def test_trials_that_differ_in_seed_and_fold_alone_are_one_configuration() -> None:
    records = [record("0"), record("1", seed=1), record("2", fold=1), record("3", batch_size=8)]
    groups = by_configuration(records)
    assert [[r.trial for r in group] for group in groups] == [["0", "1", "2"], ["3"]]


def test_a_trial_of_a_version_that_lacked_a_hyperparameter_had_its_default() -> None:
    older, newer = record("0", augment__extra=None), record("1", seed=1)
    noisy = record("2", augment__extra="noise")
    groups = by_configuration([older, newer, noisy])
    assert [[r.trial for r in group] for group in groups] == [["0", "1"], ["2"]]
    assert varied_paths([older, newer]) == ["seed"]


def test_the_order_in_which_trials_started_changes_no_name() -> None:
    trials = [
        record("0"),
        record("1", optimizer__adamw__lr=3e-3),
        record("2", optimizer__adamw__lr=None, seed=1),
    ]
    assert varied_paths(trials) == varied_paths(trials[::-1]) == ["optimizer.adamw.lr", "seed"]


def test_failed_trials_are_named_with_their_reasons_shortened() -> None:
    records = [replace(record(f"{n:04d}"), dice=0.5) for n in range(9)]
    assert failures(records) == "" and has_score(records)
    records[3] = replace(records[3], state=TrialState.FAILED, reason="out of memory")
    records[5] = replace(records[5], state=TrialState.FAILED, reason="slice 1,\n" + 99 * "slice ")
    sentence = failures(records)
    assert sentence.startswith("2 of 9 trials failed: 0003 (out of memory), 0005 (slice 1, slice ")
    assert sentence.endswith(" ...)") and len(sentence) < 200
    failed = [replace(r, state=TrialState.FAILED, reason="no") for r in records]
    assert failures(failed).endswith("0004 (no) and 4 more") and not has_score(failed)


def test_the_parts_of_a_split_are_said_of_old_records_and_of_folds_cut_for_each_seed() -> None:
    test = {"patients": 1, "slices": 20}
    folds = {"patients": 88, "slices": 1760, "folds": 5, "fewest": 17, "most": 18}
    assert parts_in_words({"test": test, "folds": folds}) == [
        "test 1 patient / 20 slices",
        "5 folds of 17 to 18 patients, cut anew for each seed: 88 patients / 1760 slices",
    ]
    assert parts_in_words({"folds": folds | {"fewest": 18}})[0].startswith("5 folds of 18 patients")
    each = {"patients": 3, "slices": 60}
    assert parts_in_words({"fold 0": each, "fold 1": each, "test": test}) == [
        "test 1 patient / 20 slices",
        "fold 0 3 patients / 60 slices",
        "fold 1 3 patients / 60 slices",
    ]
