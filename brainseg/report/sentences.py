"""What a ranking says in sentences: the answer, its doubts, its warnings."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.queries import in_folds, leaks, named
from brainseg.report.results import Results
from brainseg.search.confirmation import candidates_of, overtaken

BLIND = (
    "The last rows look at no image; they are scored on the same validation slices, at {} pixels."
)
UNSURE = (
    "One split and one or few seeds make a search result, not yet a proof. Differences smaller "
    "than the spread over patients may be noise, and the same patients chose the epoch and the "
    "trial."
)
OUT_OF_FOLD = (
    "Of each model every patient is scored by networks that never saw them, at the last epoch, "
    "which nobody chose; a trial's own row has its best epoch. Where a search chose the models, it "
    "chose them on patients who are among these."
)
LEAK = (
    "The split leaks: slices of one patient are in several parts, so the scores say little about "
    "new patients."
)
MADE_UP = "These patients are made up: the scores say nothing about real scans."


def blind_note(sweep: Mapping[str, Any]) -> str:
    side = sweep["baselines"]["image_size"]
    return BLIND.format(f"{side}x{side}")


def answer(results: Results) -> str:
    """What the sweep found, in an honest sentence."""
    frame, seeds, trials = results.ranking, results.over_seeds, results.snapshot.trials
    ranked, folds = frame[frame["rank"].notna()], in_folds(results.sweep)
    if len(seeds) and (folds or len(ranked)):
        doubt = (
            f"brainseg compare {results.snapshot.path} says what is chance"
            if folds
            else "Not yet confirmed"
        )
        return f"{_answer_over_seeds(seeds)}. {doubt}."
    if ranked.empty:
        what = f"configuration has been scored in all {folds} folds" if folds else ""
        return f"No {what or 'trial has finished with a score'}."
    first = ranked.iloc[0]
    so_far = " so far" if frame["state"].isin(["queued", "running", "paused"]).any() else ""
    name = named(first.arm, first.varied)
    said = f"{name} (trial {first.trial}) scored highest{so_far}: mean Dice {first.dice:.3f}"
    if first.patients:
        said += (
            f" over {first.patients} validation patients, half of them between "
            f"{first.dice_q1:.2f} and {first.dice_q3:.2f}"
        )
    if len(ranked) > 1:
        second = ranked.iloc[1]
        said += f"; {first.dice - second.dice:.3f} above "
        said += f"{named(second.arm, second.varied)} (trial {second.trial})"
        said += _duel(trials[first.trial].patients, trials[second.trial].patients)
    return f"{said}. Not yet confirmed."


def expects(frame: pd.DataFrame) -> bool:
    """Whether there is a trial of which is known what it is expected to be worth."""
    return bool(frame["expected_dice"].notna().any())


def doubted(results: Results) -> str:
    """Which trial is expected to be worth more than the ranking's first, or nothing.

    Nothing either of a split that leaks, which a confirmation refuses.
    """
    run, frame = results.snapshot, results.ranking
    ranked = frame[frame["rank"].notna()]
    if ranked.empty or leaks(run.sweep):
        return ""
    best_first = candidates_of(run.records, run.expected_dice)
    return overtaken(run.path, best_first, ranked["trial"].iloc[0])


def _answer_over_seeds(seeds: pd.DataFrame) -> str:
    """Of configurations that were trained with several seeds, by their means."""

    def told(row: pd.Series) -> str:
        span = f" ({row.dice_low:.3f} to {row.dice_high:.3f})" if row.seeds > 1 else ""
        plural = "s" if row.seeds > 1 else ""
        own = f"{row.patients} patients out of fold, {row.seeds}" if row.patients else row.seeds
        return f"{row.dice:.3f} over {own} seed{plural}{span}"

    first = seeds.iloc[0]
    said = f"{named(first.arm, first.varied)} scored highest: mean Dice {told(first)}"
    if len(seeds) > 1:
        second = seeds.iloc[1]
        said += f"; then {named(second.arm, second.varied)}, {told(second)}"
    return said


def warnings(sweep: Mapping[str, Any]) -> list[str]:
    """Why this sweep's scores say less than they seem to."""
    return [LEAK] * leaks(sweep) + [MADE_UP] * sweep["data"]["made_up"]


def drawn(split: Mapping[str, Any]) -> str:
    """How the split came about: "by patients, seed 0"."""
    if split["by"] in ("patients", "slices"):
        return f"by {split['by']}, seed {split['seed']}"
    return f"as {split['by']} says"


def parts(split: Mapping[str, Any]) -> list[str]:
    """How many patients and slices each part of the split holds, a line a part."""
    counts = split["counts"]
    return [
        f"{part} {counts[part]['patients']} patients / {counts[part]['slices']} slices"
        for part in (*("train", "validation", "test"), *(p for p in counts if "fold" in p))
        if part in counts
    ]


def _duel(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    both = ours.merge(theirs, on="patient")
    if both.empty:
        return ""
    return f", better on {(both['dice_x'] > both['dice_y']).sum()} of {len(both)} patients"


def ending_note(run: RunSnapshot) -> list[str]:
    """Why the last driver ended; nothing while one is at work, or of a run by hand."""
    last = run.drivers[-1:]
    return [f"It ended: {driver['reason']}." for driver in last if driver["event"] == "ends"]


def doubt(sweep: Mapping[str, Any]) -> str:
    """How far the scores can be believed."""
    return OUT_OF_FOLD if in_folds(sweep) else UNSURE


def audit_note(run: RunSnapshot) -> list[str]:
    """A sentence on what was frozen, if anything was."""
    audits = [trial.audit for trial in run.trials.values()]
    frozen = [stages for stages in audits if any(stage["blocks"] for stage in stages)]
    moved = [stages for stages in frozen if any(stage["changed"] for stage in stages)]
    if not frozen:
        return []
    return [
        f"Frozen blocks were audited in {len(frozen)} trial{'s'[: len(frozen) > 1]}: after "
        "training, weights and "
        + (
            f"statistics had changed in {len(moved)} of them, which are marked failed."
            if moved
            else "batch-norm statistics were to the bit what they were before the first step."
        )
    ]
