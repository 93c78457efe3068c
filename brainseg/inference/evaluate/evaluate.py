"""An opening, from the question to the files: who is scored, by which models, how well.

All that can be refused is refused before the opening is recorded; then it is recorded; then all
are scored; and the results appear at once, see ``openings``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from brainseg.evaluation.calibration import CALIBRATION_RULE
from brainseg.evaluation.intervals import COVERAGE, DRAWS
from brainseg.evaluation.lesions import LESION_RULE
from brainseg.evaluation.scoring import UNDEFINED
from brainseg.inference.evaluate.baselines import predictors
from brainseg.inference.evaluate.candidates import Candidate, candidates, facts_of
from brainseg.inference.evaluate.cohort import Channels, Cohort, locked_cohort, outside_cohort
from brainseg.inference.evaluate.openings import open_cohort, require_unopened
from brainseg.inference.evaluate.results import FORMAT, Evaluation, write_evaluation
from brainseg.inference.evaluate.scoring import (
    Progress,
    score_baselines,
    score_model,
)
from brainseg.inference.evaluate.tables import (
    agreement_table,
    bins_table,
    patient_table,
    score_table,
)
from brainseg.inference.winner import require_ended
from brainseg.process import Log
from brainseg.records.locks import Held, locked
from brainseg.records.run import Run
from brainseg.records.storage import storage_faults

INTERVALS = (
    f"Intervals hold 95 %: {DRAWS} bootstrap draws of persons (BCa), whose scans are drawn "
    "together; they say nothing about other trainings. Differences are paired by the patient. "
    f"{COVERAGE}"
)
LIBRARIES = ("brainseg", "torch", "numpy", "scipy", "surface-distance")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a person asks for.

    Attributes:
        data: an outside data set; None: the locked patients.
        arm: the only configuration to score; None: the winner and the report's models.
        again: why data that were opened before are opened once more.
    """

    data: str | None = None
    layout: str = "auto"
    label: str = ""
    arm: str | None = None
    again: str | None = None
    command: str = ""


def evaluate(run: Run, question: Question, log: Log, progress: Progress) -> str:
    """Score the models of a run; return the opening's name, that of its folder.

    Raises:
        ValueError: whatever is refused, see ``cohort``, ``candidates`` and ``openings``.
    """
    require_ended(run, "patients are opened for its winner")
    chosen = candidates(run, question.arm, log)
    channels = Channels(number=chosen[0].channels, model=chosen[0].name)  # all of a run have those
    if question.data is None:
        cohort = locked_cohort(run, channels, log)
    else:
        cohort = outside_cohort(run, channels, question.data, question.layout, question.label, log)
    require_unopened(run, cohort, question.again)
    models = [facts_of(candidate, candidate.open()) for candidate in chosen]  # all can be opened
    with storage_faults(run.path):
        run.evaluations.mkdir(exist_ok=True)
        try:
            with locked(run.evaluations / "lock", wait=False):
                return _open(run, cohort, question, chosen, models, log, progress)
        except Held as held:
            raise ValueError(
                f"{run.path} is being evaluated by {held.holder}; wait for it, or stop it"
            ) from None


def _open(
    run: Run,
    cohort: Cohort,
    question: Question,
    chosen: Sequence[Candidate],
    models: list[dict[str, Any]],
    log: Log,
    progress: Progress,
) -> str:
    known = ("name", "kind", "digest", "threshold")
    identity = [{key: model[key] for key in known} for model in models]
    name = open_cohort(run, cohort, identity, command=question.command, again=question.again)
    log(f"opening {name}: {cohort.patients} patients, {len(cohort.table)} slices")
    scored = []
    for candidate in chosen:
        log(f"scoring {candidate.name}")
        scored += score_model(candidate.open(), candidate.name, candidate.role, cohort, progress)
    size, notes = int(models[0]["image_size"]), list(cohort.notes)
    channels = int(models[0]["channels"])
    blind, left_out = predictors(run, cohort, image_size=size, channels=channels, log=log)
    baselines = score_baselines(blind, cohort, size, progress)
    results = Evaluation(
        facts=_facts(run, name, cohort, models, [*notes, *left_out]),
        scores=score_table([*scored, *baselines], cohort),
        patients=patient_table([*scored, *baselines], cohort),
        reliability=bins_table(scored),
        agreement=agreement_table(scored),
    )
    write_evaluation(run.evaluations / name, results)
    return name


def _facts(
    run: Run, name: str, cohort: Cohort, models: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """The content of evaluation.json."""
    opening = next(line for line in reversed(run.openings()) if line["name"] == name)
    return {
        "format": FORMAT,
        **{key: opening.get(key, "") for key in ("name", "kind", "time", "command", "reason")},
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": cohort.name,
            "fingerprint": cohort.fingerprint,
            "patients": cohort.patients,
            "persons": int(cohort.table["person"].nunique()),
            "slices": len(cohort.table),
        },
        "models": models,
        "bad": cohort.bad,
        "notes": notes,
        "rules": [UNDEFINED, LESION_RULE, CALIBRATION_RULE, INTERVALS],
        "versions": {library: version(library) for library in LIBRARIES},
    }
