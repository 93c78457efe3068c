"""The results of an opening on disk: RUN/evaluation/<name>/, written whole or not at all.

evaluation.json   which models with their digests, which data, thresholds, versions, why
scores.csv        a row a model, resolution and metric: value, 95 % interval over persons,
                  patients, how many of them are undefined; less the winner's, by the patient
patients.csv      a row a patient, model and resolution, with all of the metrics
reliability.csv   a row a model, region and bin of probabilities
agreement.csv     a row a model: bias and limits of predicted less true volume
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.data.table import read_table
from brainseg.records.fields import Fields
from brainseg.records.files import Unreadable, read_json, write_json, write_text
from brainseg.records.run import Run

FORMAT = 1
FACTS = "evaluation.json"
FACT_FIELDS = Fields(
    ("format", "name", "kind", "data", "models", "rules"),
    dict.fromkeys(("name", "kind", "reason", "command", "time"), str)
    | {"format": int, "data": dict, "models": list, "rules": list, "notes": list, "bad": dict},
)
MODEL_FIELDS = Fields(("name",), {"name": str})
MODEL = ("model",)
COLUMNS = {"scores": (*MODEL, "role", "resolution", "metric", "unit", "value", "low", "high", "n")}
TABLES = ("scores", "patients", "reliability", "agreement")
WORDS = frozenset(  # columns of them
    {"model", "role", "resolution", "metric", "unit", "why_not", "patient", "person", "region"}
    | {"length", "volume"}
)
RESTORE = "remove its folder, and open the data again with --again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an opening showed."""

    facts: dict[str, Any]
    scores: pd.DataFrame
    patients: pd.DataFrame
    reliability: pd.DataFrame
    agreement: pd.DataFrame

    @property
    def winner(self) -> str:
        return str(self.facts["models"][0]["name"])


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the files beside ``folder`` and give them its name at the end."""
    draft = folder.with_name(f".{folder.name}.partial")
    folder.parent.mkdir(exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)  # of a process that died
    draft.mkdir()
    for name in TABLES:
        table: pd.DataFrame = getattr(evaluation, name)
        write_text(draft / f"{name}.csv", table.to_csv(index=False))
    write_json(draft / FACTS, evaluation.facts)
    os.rename(draft, folder)


def read_evaluation(run: Run, name: str) -> Evaluation:
    """What the opening of that name showed.

    Raises:
        Unreadable: a file is missing or damaged.
    """
    folder = run.evaluations / name
    tables = {
        table: _with_numbers(
            read_table(folder / f"{table}.csv", columns=COLUMNS.get(table, MODEL), remedy=RESTORE)
        )
        for table in TABLES
    }
    facts = read_json(folder / FACTS, kind=dict, fields=FACT_FIELDS, remedy=RESTORE)
    named = [MODEL_FIELDS.fault(model) == "" for model in facts["models"]]
    if not named or not all(named):
        raise Unreadable(folder / FACTS, "it lacks a model, or the name of one", RESTORE)
    evaluation = Evaluation(facts=facts, **tables)
    of_winner = evaluation.scores[evaluation.scores["model"] == evaluation.winner]
    if not ((of_winner["metric"] == "dice") & (of_winner["resolution"] == "native")).any():
        fault = f"it lacks the Dice of {evaluation.winner} at the native resolution"
        raise Unreadable(folder / "scores.csv", fault, RESTORE)
    return evaluation


def _with_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """With NaN where a number is not there."""
    read = table.copy()
    for name in table:
        if name not in WORDS:
            read[name] = pd.to_numeric(table[name], errors="coerce")
    return read
