"""What locked patients and outside data sets showed, and every time that they were opened."""

from typing import Any

from brainseg.data.readers.problems import counted
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
    closed = (
        f"{counted(int(locked['patients']), 'patient')} of this run "
        f"{'is' if locked['patients'] == 1 else 'are'} locked, and it has not opened them: no "
        "trial, no choice and no figure on this page uses them. `brainseg evaluate "
        f"{results.snapshot.path}` scores its model on them, once."
        if locked
        else ""
    )
    return _section(results, "locked", closed)


def outside_section(results: Results) -> Markup | None:
    """The scores on data sets from elsewhere; nothing where none was opened."""
    return _section(results, "outside", "") if _openings(results, "outside") else None


def _section(results: Results, kind: str, closed: str) -> Markup:
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
        openings=[words.opening(opening, run) for opening in openings],
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
