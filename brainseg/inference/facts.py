"""What is known of a model beside its weights: its data, its scores, where it comes from.

No path of a machine is among it, since a bundle is handed to others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.analysis.failures import FAILED
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.data.splits.folds import rows_of
from brainseg.inference.evaluate.results import FACTS, read_evaluation
from brainseg.inference.model import Model
from brainseg.inference.winner import Ranking, RunConfiguration
from brainseg.models import medical_weights
from brainseg.models.encoders import published_weights
from brainseg.models.weights import is_path
from brainseg.records.files import Unreadable
from brainseg.records.queries import fold_count, leaks
from brainseg.records.run import Run

SCORE = ["metric", "unit", "threshold", "value", "low", "high", "n"]  # columns of an evaluation
WEIGHTS = "model.encoder.weights"  # in a configuration, may be a path


def shareable(params: Params) -> Params:
    """A configuration without the folder of the file that its encoder started from."""
    weights = str(params.get(WEIGHTS, ""))
    return {**params, WEIGHTS: Path(weights).name} if is_path(weights) else params


def data_of(run: RunSnapshot, configs: Sequence[TrialConfig]) -> dict[str, Any]:
    """The data set, and what of it members with these configurations trained and validated on."""
    data = run.sweep["data"]
    names = ("layout", "fingerprint", "made_up", "patients", "slices", "tumour_slices")
    facts = {name: data[name] for name in names if name in data}
    facts |= {"split": run.sweep["split"].get("by", "patients"), "folds": fold_count(run.sweep)}
    facts["patients_in_several_parts"] = leaks(run.sweep)
    table = run.slices
    if table.empty:  # it cannot be read
        return facts
    trained, validated = set[int](), set[int]()
    for config in configs:
        train_rows, validation_rows = rows_of(table, config.fold, config.seed)
        trained |= set(train_rows.tolist())
        validated |= set(validation_rows.tolist())
    sites = sorted(set(table["site"]) - {""}) if "site" in table else []
    return {
        **facts,
        "sites": sites,
        "trained_on": _counted(table.iloc[sorted(trained)]),
        "validated_on": _counted(table.iloc[sorted(validated)]),
        "locked": _counted(table[table["part"] == "test"]),
    }


def _counted(table: pd.DataFrame) -> dict[str, int]:
    tumour = int(table["tumour"].sum())
    patients = int(table["patient"].nunique())
    return {"patients": patients, "slices": len(table), "tumour_slices": tumour}


def origin_of(
    run: RunSnapshot, ranking: Ranking | None, chosen: RunConfiguration
) -> dict[str, Any]:
    """The run that a model comes from, and its place there."""
    names = ("name", "uid", "question", "phase", "made")
    facts = {name: run.sweep[name] for name in names if name in run.sweep}
    if not ranking:
        return facts
    return {
        **facts,
        "rank": chosen.rank,
        "configurations": len(ranking.configurations),
        "ranked_by": ranking.rule,
    }


def weights_of(config: TrialConfig) -> dict[str, str]:
    """What a network's encoder started from, and the licence of that; "unknown" is one, too."""
    model = config.model
    if not isinstance(model, Encoder) or model.weights == "none":
        return {"name": "none", "licence": "", "terms": ""}
    if model.weights.startswith(medical_weights.PREFIX):
        medical = medical_weights.named(model.weights)
        return {"name": model.weights, "licence": medical.licence, "terms": medical.terms}
    if is_path(model.weights):
        terms = "A file of whoever trained the model; ask where it is from."
        return {"name": Path(model.weights).name, "licence": "unknown", "terms": terms}
    licence = published_weights(model.name).get(model.weights, "unknown")
    return {"name": model.weights, "licence": licence, "terms": ""}


def scores_of(
    run: RunSnapshot, ranking: Ranking, chosen: RunConfiguration, *, alone: bool
) -> dict[str, Any]:
    """What is known of a model's Dice on patients that its networks were not trained on.

    Args:
        alone: whether the model is one of the configuration's trials, of a list of points.
    """
    if ranking.is_search or alone:
        return _of_trial(run, ranking, chosen)
    compared = ranking.comparison.configurations if ranking.comparison else ()
    for configuration in compared:
        if configuration.name == chosen.name:
            return {
                "measured": _measured(run),
                "dice": configuration.dice.mean,
                "low": configuration.dice.low,
                "high": configuration.dice.high,
                "patients": ranking.comparison.patients if ranking.comparison else 0,
                "failed_patients": configuration.failures.count,
                "may_be_best": configuration.may_be_best,
            }
    return {"measured": _measured(run), "dice": chosen.dice, "patients": 0}


def _measured(run: RunSnapshot) -> str:
    return "out of fold" if fold_count(run.sweep) else "in validation"


def _of_trial(run: RunSnapshot, ranking: Ranking, chosen: RunConfiguration) -> dict[str, Any]:
    trial = run.trials[chosen.members[0]]
    table = trial.patients if ranking.is_search else trial.last
    tested = 0 if table is None else len(table)
    held = {
        "measured": "in the search" if ranking.is_search else "in validation",
        "dice": trial.record.dice if table is None or not tested else float(table["dice"].mean()),
        "patients": tested,
        "failed_patients": 0 if table is None else int((table["dice"] < FAILED).sum()),
    }
    if ranking.is_search:
        held |= {"best_of": len(run.records), "expected_dice": chosen.dice}
    return held


def scores_of_refit(refits: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a refit, which nobody validates: what its configuration scored before."""
    names = ("measured", "dice", "low", "high", "patients")
    return {**{name: refits.get(name) for name in names}, "of": refits.get("name", "")}


def openings_of(runs: Sequence[Run], model: Model) -> list[dict[str, Any]]:
    """What evaluations of these runs showed of a model, at the native resolution of the files."""
    names = [(run, file.parent.name) for run in runs for file in run.evaluations.glob(f"*/{FACTS}")]
    if not names:
        return []
    digest = model.digest()
    opened = (_opening(run, name, digest) for run, name in sorted(names, key=lambda at: at[1]))
    return [opening for opening in opened if opening]


def _opening(run: Run, name: str, digest: str) -> dict[str, Any]:
    """One evaluation's scores of a model; none if it did not score it, or cannot be read."""
    try:
        evaluation = read_evaluation(run, name)
    except (Unreadable, OSError):
        return {}
    models = evaluation.facts["models"]
    names = [model.get("name") for model in models if model.get("digest") == digest]
    table = evaluation.scores
    rows = table[table["model"].isin(names) & (table["resolution"] == "native")]
    scores = [
        {column: None if pd.isna(row[column]) else row[column] for column in SCORE}
        for row in rows[SCORE].to_dict("records")
    ]
    facts = {key: evaluation.facts.get(key, "") for key in ("name", "kind", "time", "reason")}
    known = {
        "notes": evaluation.facts.get("notes", []),
        "bad": len(evaluation.facts.get("bad", {})),
    }
    return {**facts, **known, "scores": scores} if scores else {}
