"""What a sweep found: its ranking, and results.csv."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.analysis.claims.verdicts import Verdict, verdicts
from brainseg.analysis.comparison import Comparison, compare
from brainseg.analysis.configurations import over_seeds
from brainseg.analysis.cost_summary import CostSummary, summarise_costs
from brainseg.analysis.pareto import pareto_rows
from brainseg.analysis.snapshot import RunSnapshot, TrialSnapshot
from brainseg.analysis.subgroups import Subgroup, subgroups
from brainseg.records.files import write_text
from brainseg.records.queries import by_configuration, fold_count, in_words, leaks, varied_paths
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState

SCORES = ("iou", "micro_dice", "tumour_slice_dice", "slice_dice_empty1", "false_alarm")
COLUMNS = [
    *("trial", "arm", "state", "dice", "expected_dice"),
    *("dice_q1", "dice_median", "dice_q3", "patients", *SCORES),
    *("best_epoch", "epochs", "lr", "schedule", "varied", "frozen_tensors", "frozen_changed"),
    *("device_seconds", "reason"),
]


@dataclass(frozen=True, eq=False)
class Results:
    """The answers that a run's records give; each is worked out once, when first asked for."""

    snapshot: RunSnapshot

    @classmethod
    def load(cls, run: Run) -> "Results":
        """The results of a run, whose records are read once."""
        return cls(RunSnapshot.load(run))

    @property
    def sweep(self) -> Mapping[str, Any]:
        return self.snapshot.sweep

    @property
    def run(self) -> Run:
        """Where reports are written."""
        return Run(self.snapshot.path)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        return ranking(self.snapshot, self.over_seeds)

    @cached_property
    def over_seeds(self) -> pd.DataFrame:
        return over_seeds(self.snapshot)

    @cached_property
    def costs(self) -> CostSummary:
        return summarise_costs(self.snapshot)

    @cached_property
    def pareto(self) -> list[dict[str, Any]]:
        return pareto_rows(self.snapshot)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        return verdicts(self.snapshot)

    @cached_property
    def comparison(self) -> Comparison | str:
        """The comparison of the run's configurations, or why there is none."""
        try:
            return compare(self.snapshot)
        except ValueError as error:
            return str(error)

    @cached_property
    def subgroups(self) -> tuple[Subgroup, ...]:
        """The compared configurations by site and by tumour size; none without a comparison."""
        return subgroups(self.snapshot) if isinstance(self.comparison, Comparison) else ()


def ranking(run: RunSnapshot, means: pd.DataFrame) -> pd.DataFrame:
    """One row a trial, best validation ``dice`` first; failed and scoreless ones follow unranked.

    Scores are those of the best epoch so far. ``expected_dice`` is the model's estimate for a trial
    that is done, NaN where there is none, see ``search.expected_dice``; it does not rank, since the
    saved weights are of the best epoch. ``dice_q1``, ``dice_median`` and ``dice_q3`` are quartiles
    over the validation ``patients``, whose mean is ``dice``; ``epochs`` are those finished; ``lr``
    is the peak of the schedule, NaN where a range test found it; ``varied`` are the hyperparameters
    that differ between trials, without those in the name, ``arm``; ``frozen_tensors`` are
    those that were audited, ``frozen_changed`` those that had changed, which must be 0.
    Folds hold different patients, so trials of a sweep in folds have no rank: they stand grouped by
    configuration, in the order of ``means``, the rows of ``over_seeds``.
    """
    folds = fold_count(run.sweep)
    records = _grouped(run.records, means) if folds else run.records
    paths, expected = varied_paths(records), run.expected_dice
    rows = [
        _row(run.trials[record.trial])
        | {"varied": in_words(record.params, paths)}
        | {"expected_dice": expected.get(record.trial) if record.state == TrialState.DONE else None}
        for record in records
    ]
    if folds:
        return _framed(rows, {})
    ranked = [
        row for row in rows if row["state"] != TrialState.FAILED and math.isfinite(row["dice"])
    ]
    ranked.sort(key=lambda row: -row["dice"])
    places = {row["trial"]: place for place, row in enumerate(ranked, start=1)}
    rest = [row for row in rows if row["trial"] not in places]
    return _framed(ranked + rest, places)


def _framed(rows: list[dict[str, Any]], places: Mapping[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.insert(0, "rank", frame["trial"].map(places).astype("Int64"))
    frame["expected_dice"] = frame["expected_dice"].astype(float)
    return frame


def _grouped(records: Sequence[TrialRecord], means: pd.DataFrame) -> list[TrialRecord]:
    places = {trial: n for n, trial in enumerate(means["trial"])} if len(means) else {}
    groups = by_configuration(records)
    groups.sort(key=lambda group: min(places.get(r.trial, len(places)) for r in group))
    return [record for group in groups for record in group]


def write_results(results: Results) -> Path:
    """Write results.csv: the ranking, and each trial's hyperparameters as ``params.<path>``.

    The last column says whether the split leaks.
    """
    frame = results.ranking
    params = {record.trial: record.params for record in results.snapshot.records}
    columns = pd.DataFrame([params[trial] for trial in frame["trial"]], index=frame.index)
    table = pd.concat([frame, columns.add_prefix("params.")], axis=1)
    table["leaks"] = leaks(results.sweep)
    write_text(results.run.results, table.to_csv(index=False))
    return results.run.results


def baseline_rows(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a baseline that looks at no image: its ``name``, its scores (NaN: undefined)."""
    rows = []
    for baseline in sweep["baselines"]["predictors"]:
        name, why_not = baseline["name"], baseline["why_not"]
        scores = {score: baseline["scores"].get(score, math.nan) for score in ("dice", *SCORES)}
        rows.append({"name": f"{name}: {why_not}" if why_not else name, **scores})
    return rows


def _row(trial: TrialSnapshot) -> dict[str, Any]:
    record, params, epochs, stages = trial.record, trial.record.params, trial.rows, trial.audit
    best = _best(record, epochs)
    low, median, high = trial.patients["dice"].quantile([0.25, 0.5, 0.75])
    rate = f"optimizer.{params.get('optimizer')}.lr"
    return (
        vars(record)
        | {"arm": record.configuration}
        | {score: best.number(score) if best else math.nan for score in SCORES}
        | {
            "dice": (best.dice if best else math.nan) if record.dice is None else record.dice,
            "dice_q1": low,
            "dice_median": median,
            "dice_q3": high,
            "patients": len(trial.patients),
            "best_epoch": best.epoch if best else record.best_epoch,
            "epochs": max([record.epoch, *(row.epoch for row in epochs)]),
            "lr": math.nan if params.get("lr") == "auto" else params.get(rate, math.nan),
            "schedule": params.get("schedule", ""),
            "frozen_tensors": max((stage["tensors"] for stage in stages), default=math.nan),
            "frozen_changed": sum(len(stage["changed"]) for stage in stages),
            "device_seconds": record.device_seconds or trial.device_seconds,
        }
    )


def _best(record: TrialRecord, epochs: list[EpochRow]) -> EpochRow | None:
    """The row of the best epoch, or of the best so far."""
    best_epoch = record.best_epoch or (epochs[-1].best_epoch if epochs else 0)
    return next((row for row in epochs if row.epoch == best_epoch), None)
