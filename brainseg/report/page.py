"""The report of a sweep as one HTML page, which loads nothing and so opens anywhere."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from brainseg.analysis.arms import over_seeds
from brainseg.analysis.comparison import Comparison
from brainseg.records.files import read_json, write_text
from brainseg.records.queries import in_folds
from brainseg.records.run import ENDED, Run
from brainseg.report import claims, comparison, results, sentences
from brainseg.report.html import Html, document, pairs, safe
from brainseg.report.sections import comparison as comparison_section
from brainseg.report.sections import pareto
from brainseg.report.sections.claims import claims_section
from brainseg.report.sections.costs import costs_section, ended_early_section, replay_section
from brainseg.report.sections.curves import (
    curves_of,
    dice_figure,
    learning_curves_section,
    loss_figure,
    patient_figure,
)
from brainseg.report.sections.ranking import meanings, over_seeds_section, ranking_section
from brainseg.report.sections.slices import slices_section


def write_report(run: Run) -> Path:
    """Write results.html: one file that loads nothing from anywhere."""
    sweep, frame = read_json(run.sweep), results.ranking(run)
    best, others = curves_of(run, frame)
    found = comparison_section.found(run)
    sections = {
        comparison_section.TITLE: comparison_section.section(sweep, found),
        claims.TITLE: claims_section(run, sweep),
        pareto.TITLE: pareto.section(run, sweep),
        "Ranking": ranking_section(frame, sweep),
        "Over seeds": over_seeds_section(over_seeds(run), sweep),
        "Learning curves": learning_curves_section(run, sweep),
        "Validation Dice": dice_figure(best, others),
        "Loss and learning rate": loss_figure(best),
        "Patients": patient_figure([curve for curve in best if len(curve.patients)]),
        "Slices": slices_section(run, sweep, frame),
        "Stopped and failed": ended_early_section(frame),
        "What it cost": costs_section(run),
        "Train the leader again": replay_section(run, sweep, frame),
        "What the columns mean": pairs(meanings(frame)),
        "Searched": pairs(sweep["space"]),
        "Held": pairs({k: v for k, v in sweep["base"].items() if k not in sweep["space"]}),
        "Versions": pairs(sweep["versions"]),
    }
    write_text(run.report, document(sweep["name"], _head(run, sweep, frame, found), sections))
    return run.report


def _head(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame, found: Comparison | str) -> Html:
    lead = sentences.answer(run, frame)
    if in_folds(sweep) and isinstance(found, Comparison):
        lead = comparison.answer(found)
    facts = "".join(
        f"<div><dt>{name}</dt>{''.join(f'<dd>{safe(line)}</dd>' for line in lines)}</div>"
        for name, lines in _facts(run, sweep, frame).items()
    )
    more = filter(None, [sentences.doubted(run, frame)])
    notes = [*sentences.audit_note(run), sentences.doubt(sweep)]
    return Html(
        f'<p class="note">brainseg · sweep {safe(sweep["name"])}</p>\n'
        f"<h1>{safe(sweep['question'])}</h1>\n"
        f'<p class="lead">{safe(lead)}</p>\n'
        f"{''.join(f'<p>{safe(text)}</p>' for text in more)}\n"
        f"{''.join(f'<p class=note>{text}</p>' for text in notes)}\n"
        f"{''.join(f'<p class=warn>{text}</p>' for text in sentences.warnings(sweep))}\n"
        f'<dl class="facts">{facts}</dl>'
    )


def _facts(run: Run, sweep: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, list[str]]:
    data, split = sweep["data"], sweep["split"]
    states = Counter(frame["state"])
    order = [state for state in (*ENDED, "paused", "running", "queued") if states[state]]
    strategy, confirms = sweep["strategy"].items(), sweep.get("confirms")
    origin = [f"the best {confirms['top']} of", confirms["search"]] if confirms else []
    return {
        **({"Confirms": origin} if origin else {}),
        "Data": [
            f"{data['patients']} patients, {data['slices']} slices, "
            f"{data['tumour_slices']} of them with tumour",
            data["root"],
            f"fingerprint {data['fingerprint'][:12]}",
        ],
        "Split": [
            sentences.drawn(split),
            *sentences.parts(split),
            "the search never sees test",
        ],
        "Trials": [
            ", ".join(f"{states[state]} {state}" for state in order) or "none yet",
            f"{frame['epochs'].sum()} epochs",
            f"{frame['device_seconds'].sum() / 3600:.2f} device-hours",
            *sentences.ending_note(run),
        ],
        "Search": [f"{name.replace('_', ' ')} {value}" for name, value in strategy],
        "Command": [sweep["command"]],
        "Begun": [sweep["made"], f"id {sweep['uid']}"],
    }
