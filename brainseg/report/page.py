"""The report of a sweep as one HTML page, which loads nothing from elsewhere."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg.data.labels import in_words
from brainseg.records.files import write_text
from brainseg.records.queries import fold_count, parts_in_words
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.report import claims, comparison, sentences
from brainseg.report.html import Markup, render
from brainseg.report.results import Results
from brainseg.report.sections import comparison as comparison_section
from brainseg.report.sections import evaluation, pareto
from brainseg.report.sections.claims import claims_section
from brainseg.report.sections.costs import costs_section, ended_early_section, replay_section
from brainseg.report.sections.curves import (
    curves_of,
    dice_section,
    learning_curves_section,
    loss_section,
    patients_section,
    training_section,
)
from brainseg.report.sections.ranking import meanings_section, over_seeds_section, ranking_section
from brainseg.report.sections.slices import slices_section
from brainseg.report.sections.subgroups import subgroups_section


def write_report(results: Results) -> Path:
    """Write report.html."""
    sweep = results.sweep
    expected = sentences.expected_dice_note(results)
    page = render(
        "report",
        title=sweep["name"],
        question=sweep["question"],
        answer=comparison.headline(results),
        paragraphs=[expected] if expected else [],
        notes=[
            *sentences.file_notes(results.snapshot),
            *sentences.retry_notes(results.snapshot),
            *sentences.audit_note(results.snapshot),
            sentences.caveat(sweep),
        ],
        warnings=sentences.warnings(sweep),
        facts=_facts(results),
        sections={name: content for name, content in _sections(results).items() if content},
    )
    path = results.run.report
    write_text(path, page)
    return path


def _sections(results: Results) -> dict[str, Markup | None]:
    """Every section under its title; None where the run has nothing to show in it."""
    run, sweep, frame = results.snapshot, results.sweep, results.ranking
    is_refit = "refits" in sweep
    return {
        evaluation.LOCKED: evaluation.locked_section(results),
        evaluation.OUTSIDE: evaluation.outside_section(results),
        **({"Training": training_section(run)} if is_refit else _scores(results)),
        "Stopped and failed trials": ended_early_section(frame),
        "What it cost": costs_section(results.costs),
        "Train the best trial again": replay_section(run, frame),
        "What the columns mean": None if is_refit else meanings_section(frame),
        "Hyperparameters searched": _pairs(sweep["space"]),
        "Hyperparameters fixed": _pairs(
            {path: value for path, value in _fixed(results).items() if path not in sweep["space"]}
        ),
        "Versions": _pairs(sweep["versions"]),
    }


def _fixed(results: Results) -> Mapping[str, Any]:
    """What no trial changed; of a refit, its one trial's configuration."""
    records = results.snapshot.records if "refits" in results.sweep else []
    return next((record.params for record in records), results.sweep["base"])


def _scores(results: Results) -> dict[str, Markup | None]:
    """The sections that show scores."""
    run, sweep, frame = results.snapshot, results.sweep, results.ranking
    best, others = curves_of(run, frame)
    tables = {  # in folds a trial has no rank
        "Ranking": ranking_section(frame, sweep),
        "Over seeds": over_seeds_section(results.over_seeds, sweep),
    }
    return {
        comparison_section.TITLE: comparison_section.section(sweep, results.comparison),
        "Subgroups": subgroups_section(results),
        claims.TITLE: claims_section(results),
        pareto.TITLE: pareto.section(results.pareto),
        **(dict(reversed(tables.items())) if fold_count(sweep) else tables),
        "Learning curves": learning_curves_section(run, frame),
        "Validation Dice": dice_section(best, others),
        "Loss and learning rate": loss_section(best),
        "Patients": patients_section(best),
        "Slices": slices_section(run, frame),
    }


def _pairs(values: Mapping[str, Any]) -> Markup | None:
    return render("definitions", definitions=values) if values else None


def _facts(results: Results) -> dict[str, list[str]]:
    """Name and lines of what the head of the page lists."""
    sweep, frame = results.sweep, results.ranking
    data, split = sweep["data"], sweep["split"]
    states = Counter(frame["state"])
    order = (*ENDED, TrialState.PAUSED, TrialState.RUNNING, TrialState.QUEUED)
    counts = [f"{states[state]} {state}" for state in order if states[state]]
    origin = {}
    if confirms := sweep.get("confirms"):
        origin = {"Confirms": [f"the best {confirms['top']} of", confirms["search"]]}
    if refits := sweep.get("refits"):
        origin = {"Refits": [f"{refits['configuration']}, trial {refits['trial']}", refits["run"]]}
    return {
        **origin,
        "Data": [
            f"{data['patients']} patients, {data['slices']} slices, "
            f"{data['tumour_slices']} of them with tumour",
            *([in_words(data["label"])] if data.get("label") else []),
            data["root"],
            f"fingerprint {data['fingerprint']}",
        ],
        "Split": [
            sentences.split_source(split),
            *parts_in_words(split["counts"]),
            *["no trial uses the test patients"] * ("test" in split["counts"]),
        ],
        "Trials": [
            ", ".join(counts) or "none yet",
            f"{frame['epochs'].sum()} epochs",
            f"{frame['device_seconds'].sum() / 3600:.2f} device-hours",
            *sentences.ending_note(results.snapshot),
        ],
        "Search": [
            f"{name.replace('_', ' ')} {value}" for name, value in sweep["strategy"].items()
        ],
        "Command": [sweep["command"]],
        "Started": [sweep["made"], f"id {sweep['uid']}"],
    }
