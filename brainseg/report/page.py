"""The report of a sweep as one HTML page, which loads nothing and so opens anywhere."""

from collections import Counter
from pathlib import Path

import pandas as pd

from brainseg.analysis.comparison import Comparison
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.records.files import write_text
from brainseg.records.queries import in_folds
from brainseg.records.run import ENDED
from brainseg.report import claims, comparison, sentences
from brainseg.report.html import Html, document, pairs, safe
from brainseg.report.results import Results
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


def write_report(results: Results) -> Path:
    """Write results.html: one file that loads nothing from anywhere."""
    run, sweep, frame = results.snapshot, results.sweep, results.ranking
    best, others = curves_of(run, frame)
    sections = {
        comparison_section.TITLE: comparison_section.section(sweep, results.comparison),
        claims.TITLE: claims_section(results),
        pareto.TITLE: pareto.section(results.front),
        "Ranking": ranking_section(frame, sweep),
        "Over seeds": over_seeds_section(results.over_seeds, sweep),
        "Learning curves": learning_curves_section(run),
        "Validation Dice": dice_figure(best, others),
        "Loss and learning rate": loss_figure(best),
        "Patients": patient_figure([curve for curve in best if len(curve.patients)]),
        "Slices": slices_section(run, frame),
        "Stopped and failed": ended_early_section(frame),
        "What it cost": costs_section(results.costs),
        "Train the leader again": replay_section(run, frame),
        "What the columns mean": pairs(meanings(frame)),
        "Searched": pairs(sweep["space"]),
        "Held": pairs({k: v for k, v in sweep["base"].items() if k not in sweep["space"]}),
        "Versions": pairs(sweep["versions"]),
    }
    path = results.run.report
    write_text(path, document(sweep["name"], _head(results), sections))
    return path


def _head(results: Results) -> Html:
    run, sweep = results.snapshot, results.sweep
    lead = sentences.answer(results)
    if in_folds(sweep) and isinstance(results.comparison, Comparison):
        lead = comparison.answer(results.comparison)
    facts = "".join(
        f"<div><dt>{name}</dt>{''.join(f'<dd>{safe(line)}</dd>' for line in lines)}</div>"
        for name, lines in _facts(run, results.ranking).items()
    )
    more = filter(None, [sentences.doubted(results)])
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


def _facts(run: RunSnapshot, frame: pd.DataFrame) -> dict[str, list[str]]:
    sweep, data, split = run.sweep, run.sweep["data"], run.sweep["split"]
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
