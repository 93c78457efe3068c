"""What locked patients and outside data sets showed, and every time that they were opened."""

from collections.abc import Sequence
from typing import Any

from brainseg.data.readers.problems import counted
from brainseg.inference.evaluate.cohort import locked_digests
from brainseg.inference.evaluate.results import Evaluation, read_evaluation
from brainseg.records.files import Unreadable
from brainseg.report.evaluation import words
from brainseg.report.html import Markup, render
from brainseg.report.results import Results
from brainseg.report.sections.evaluation_figures import figures

LOCKED, OUTSIDE = "Locked patients", "Outside data"


def locked_section(results: Results) -> Markup | None:
    """The locked patients' scores; how to open them if nobody has; nothing where there are none."""
    locked = results.sweep["split"]["counts"].get("test")
    if not locked and not _openings(results, "locked"):
        return None
    patients = counted(int(locked["patients"]), "patient") if locked else ""
    are = f"{patients} of this run {'is' if patients == '1 patient' else 'are'} locked"
    again = f"`brainseg evaluate {results.snapshot.path}"
    beside = words.openings_beside(results.run, [_closed(results)])
    closed = (
        f"{are}, and runs beside it have opened them: what they showed is in the reports of those. "
        f"{again} --again REASON` scores its model on them once more."
        if beside
        else f"{are}, and it has not opened them: no trial, no choice and no figure on this page "
        f"uses them. {again}` scores its model on them, once."
    )
    return _section(results, "locked", closed, beside)


def _closed(results: Results) -> dict[str, Any]:
    """What the record of an opening of the locked patients would say of them."""
    known = _openings(results, "locked")
    if known:
        return known[0]
    contents = locked_digests(results.run, results.snapshot.slices)
    return {"kind": "locked", "fingerprint": "", "contents": contents}


def outside_section(results: Results) -> Markup | None:
    """The scores on data sets from elsewhere; nothing where none was opened."""
    openings = _openings(results, "outside")
    beside = words.openings_beside(results.run, openings)
    return _section(results, "outside", "", beside) if openings else None


def _section(results: Results, kind: str, closed: str, beside: Sequence[str]) -> Markup:
    run, openings = results.run, _openings(results, kind)
    shown, damaged, rules = [], [], dict[str, None]()
    for opening in openings:
        if (run.evaluations / str(opening["name"])).is_dir():
            try:
                evaluation = read_evaluation(run, str(opening["name"]))
                shown.append(_shown(evaluation))
                rules |= dict.fromkeys(words.rules(evaluation))
            except (Unreadable, OSError, KeyError) as error:
                damaged.append(f"{opening['name']} cannot be shown: {error}")
    return render(
        "evaluation",
        closed="" if openings else closed,
        shown=shown,
        damaged=damaged,
        rules=list(rules),
        resolutions=words.RESOLUTIONS,
        openings=[*(words.opening(opening, run, asked=run) for opening in openings), *beside],
    )


def _openings(results: Results, kind: str) -> list[dict[str, Any]]:
    return [opening for opening in results.snapshot.openings if opening["kind"] == kind]


def _shown(evaluation: Evaluation) -> dict[str, Any]:
    """What the template needs of one opening."""
    models = words.models(evaluation)
    reason = evaluation.facts.get("reason", "")
    return {
        "title": words.title(evaluation),
        "reason": f"Opened again because: {reason}" if reason else "",
        "answer": words.answer(evaluation),
        "heads": list(dict.fromkeys(head for cells in models.values() for head in cells)),
        "models": models,
        "metrics": {
            str(model["name"]): words.metric_rows(evaluation, str(model["name"]))
            for model in evaluation.facts["models"]
        },
        "volumes": words.volumes(evaluation),
        "figures": figures(evaluation),
        "notes": words.notes(evaluation),
    }
