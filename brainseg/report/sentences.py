"""What a run's results say in sentences: the answer, how sure it is, warnings."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.data.readers.problems import counted, some
from brainseg.records.queries import fold_count, full_name, leaks
from brainseg.records.run import LIST
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.report.results import Results
from brainseg.search.confirmation import expected_better, rank_configurations

UNSURE = (
    "One split and one or few seeds give a search result, not yet a proof. Differences smaller "
    "than the spread over patients may be noise, and the epoch and the trial were chosen on these "
    "same patients."
)
OUT_OF_FOLD = (
    "Every patient of a configuration is scored by networks that never saw them, at the last "
    "epoch, not at the best one; a trial's own row shows its best epoch. Where a search chose the "
    "configurations, it chose them on some of these patients."
)
ONE_SPLIT = (
    "Dice over seeds is that of the last epoch, which no score chose; a trial's own row shows its "
    "best epoch. All seeds share one split: other training sets are not in it."
)
LEAK = (
    "The split leaks: slices of one patient are in several parts, so the scores say little about "
    "new patients."
)
REFIT = (
    "All patients but the locked ones were trained on, so nobody is left to score this training "
    "on: it has a loss, and no Dice."
)
MADE_UP = "These patients are made up: the scores say nothing about real scans."


def baselines_note(sweep: Mapping[str, Any]) -> str:
    if not sweep["baselines"]["predictors"]:  # of a refit: nobody validates
        return ""
    side = sweep["baselines"]["image_size"]
    return (
        "The last rows are baselines that look at no image, scored on the same validation slices, "
        f"at {side}x{side} pixels."
    )


def answer(results: Results) -> str:
    """What the sweep found, in a sentence or two."""
    if "refits" in results.sweep:
        return _answer_of_refit(results)
    frame, seeds, trials = results.ranking, results.over_seeds, results.snapshot.trials
    ranked, folds = frame[frame["rank"].notna()], fold_count(results.sweep)
    if len(seeds) and (folds or len(ranked)):
        return f"{_answer_over_seeds(seeds)}.{' Not yet confirmed.' * (not folds)}"
    if ranked.empty and folds:
        return f"No configuration has been scored in all {folds} folds yet."
    if ranked.empty:
        return "No trial has finished with a score yet."
    first = ranked.iloc[0]
    so_far = " so far" if (~frame["state"].isin(ENDED)).any() else ""
    name = full_name(first.arm, first.varied)
    sentence = f"{name} (trial {first.trial}) scored highest{so_far}: mean Dice {first.dice:.3f}"
    if first.patients:
        sentence += (
            f" over {first.patients} validation patients, half of them between "
            f"{first.dice_q1:.2f} and {first.dice_q3:.2f}"
        )
    if len(ranked) > 1:
        second = ranked.iloc[1]
        sentence += f"; {first.dice - second.dice:.3f} above "
        sentence += f"{full_name(second.arm, second.varied)} (trial {second.trial})"
        sentence += _duel(trials[first.trial].patients, trials[second.trial].patients)
    return f"{sentence}. Not yet confirmed."


def _answer_of_refit(results: Results) -> str:
    """What was trained, how far, and what may be expected of it."""
    refits, counts = results.sweep["refits"], results.sweep["split"]["counts"]
    patients = counted(counts["train"]["patients"], "patient")
    whom = f"all {patients} that are not locked" if "test" in counts else f"all {patients}"
    trial = next(iter(results.snapshot.trials.values()), None)
    how_far = "so far none of its epochs"
    if trial and trial.rows:
        epoch, planned = trial.rows[-1].epoch, trial.record.params.get("epochs")
        how_far = f"so far {epoch} of its {planned} epochs"
        if trial.record.state == TrialState.DONE:
            how_far = f"to its last epoch, {epoch}"
    return (
        f"{refits['configuration']} was trained once more on {whom}, {how_far}. "
        f"{expectation(refits)}"
    )


def expectation(refits: Mapping[str, Any]) -> str:
    """What the run that is refitted says of the configuration, and how far that goes."""
    if refits["dice"] is None:
        return (
            f"{refits['run']} does not say how well it does on patients that it did not train on."
        )
    measured = f"Dice {refits['dice']:.3f}"
    if refits["low"] is not None:
        measured = (
            f"mean {measured} (95 % interval {refits['low']:.3f} to {refits['high']:.3f}) over "
            f"{counted(refits['patients'], 'patient')}"
        )
    if refits["measured"] == "in the search":
        return (
            f"{refits['run']} expects {measured} of it, on the patients that it was chosen on; "
            f"`brainseg confirm {refits['run']}` measures it on all."
        )
    return (
        f"What to expect of it is what {refits['run']} measured {refits['measured']}: {measured}, "
        "of networks that were trained on fewer patients."
    )


def has_expected_dice(frame: pd.DataFrame) -> bool:
    """Whether some trial has an expected Dice."""
    return bool(frame["expected_dice"].notna().any())


def expected_dice_note(results: Results) -> str:
    """Which trial has a higher expected Dice than the ranking's first; "" for none.

    "" for a split that leaks, too: a confirmation refuses it.
    """
    run, frame = results.snapshot, results.ranking
    ranked = frame[frame["rank"].notna()]
    if ranked.empty or leaks(run.sweep):
        return ""
    best_first = rank_configurations(run.records, run.expected_dice)
    return expected_better(run.path, best_first, ranked["trial"].iloc[0])


def _answer_over_seeds(seeds: pd.DataFrame) -> str:
    """The best two configurations by their mean over seeds."""

    def mean(row: pd.Series) -> str:
        span = f" ({row.dice_low:.3f} to {row.dice_high:.3f})" if row.seeds > 1 else ""
        plural = "s" if row.seeds > 1 else ""
        out_of_fold = f"{row.patients} patients out of fold, " if row.patients else ""
        return f"{row.dice:.3f} over {out_of_fold}{row.seeds} seed{plural}{span}"

    first = seeds.iloc[0]
    sentence = f"{full_name(first.arm, first.varied)} scored highest: mean Dice {mean(first)}"
    if len(seeds) > 1:
        second = seeds.iloc[1]
        sentence += f"; then {full_name(second.arm, second.varied)}, {mean(second)}"
    return sentence


def warnings(sweep: Mapping[str, Any]) -> list[str]:
    """Why the scores of this sweep mean less than they seem to."""
    return [LEAK] * leaks(sweep) + [MADE_UP] * sweep["data"]["made_up"]


def split_source(split: Mapping[str, Any]) -> str:
    """How the split was made: "by patients, seed 0"."""
    if split["by"] in ("patients", "slices"):
        return f"by {split['by']}, seed {split['seed']}"
    return f"from {split['by']}"


def _duel(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    both = ours.merge(theirs, on="patient")
    if both.empty:
        return ""
    return f", better on {(both['dice_x'] > both['dice_y']).sum()} of {len(both)} patients"


def ending_note(run: RunSnapshot) -> list[str]:
    """Why the last driver ended; nothing while one is running, or of a run by hand."""
    last = run.drivers[-1:]
    return [f"It ended: {driver['reason']}." for driver in last if driver["event"] == "ends"]


def caveat(sweep: Mapping[str, Any]) -> str:
    """How far the scores can be trusted."""
    if "refits" in sweep:
        return REFIT
    if fold_count(sweep):
        return OUT_OF_FOLD
    return ONE_SPLIT if len(sweep["strategy"].get("seeds", [])) > 1 else UNSURE


def file_notes(run: RunSnapshot) -> list[str]:
    """What was found wrong with trials' files, and what became of it, a sentence each."""
    unlisted = [f"Trial {name}: trials.jsonl does not list it; {LIST}." for name in run.unlisted]
    trials: dict[str, list[str]] = {}
    for name, trial in run.trials.items():
        for note in trial.notes:
            trials.setdefault(note, []).append(name)
    return unlisted + [
        f"Trial{'s' * (len(names) > 1)} {some(names)}: {note}." for note, names in trials.items()
    ]


def retry_notes(run: RunSnapshot) -> list[str]:
    """Which trials were tried again after they had failed, and why, a sentence each."""
    return [f"Trial {r.trial} was tried again: {r.retry}." for r in run.records if r.retry]


def audit_note(run: RunSnapshot) -> list[str]:
    """A sentence on the audit of frozen blocks, if there were any."""
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
            else "batch-norm statistics were bit for bit as before the first step."
        )
    ]
