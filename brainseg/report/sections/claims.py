"""The page's section on the claims that a sweep tests."""

from dataclasses import replace

from brainseg.analysis import verdicts
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.analysis.verdicts import Verdict
from brainseg.config.claims import Faster, Rougher
from brainseg.report import claims, sentences
from brainseg.report.figures import curves as curve_figures
from brainseg.report.figures import forest, style
from brainseg.report.html import Html, figure, safe
from brainseg.report.results import Results
from brainseg.report.sections.curves import curve_of


def claims_section(results: Results) -> Html:
    """Each conclusion with its verdict, the numbers and the picture behind it."""
    parts = [
        f"<h3>{safe(one.claim.text)}: {one.word}</h3>\n<p>{safe(one.why)}</p>\n"
        f"{_claim_figures(results.snapshot, one)}"
        for one in results.verdicts
    ]
    if not parts:
        return Html()
    notes = "".join(f'<p class="warn">{text}</p>' for text in sentences.warnings(results.sweep))
    return Html(f'{notes}<p class="note">{claims.METHOD}</p>\n' + "\n".join(parts))


def _claim_figures(run: RunSnapshot, verdict: Verdict) -> Html:
    """The differences with their intervals and, where curves were measured, the curves."""
    rows = [
        (f"{one.arm.words} less {one.rival.words}", one.difference, one.low, one.high)
        for one in verdict.contrasts
        if one.ours
    ]
    if not rows:
        return Html()
    measure, _ = verdicts.MEASURES[type(verdict.claim)]
    picture = figure(
        forest.differences(rows, measure),
        "Dot: the difference, the first less the second; line: its 95 % interval, where there is "
        "one. An interval that crosses zero cannot tell.",
    )
    if not isinstance(verdict.claim, Faster | Rougher):
        return picture
    ours = {one.arm.words: one.arm for one in verdict.contrasts}
    rivals = {one.rival.words: one.rival for one in verdict.contrasts}
    named = [*ours.values(), *rivals.values()][: len(style.COLOURS)]
    curves = [
        replace(curve_of(run.trials[first.trial], arm.words, first.best_epoch), colour=colour)
        for arm, colour in zip(named, style.COLOURS, strict=False)
        for first in arm.records[:1]
    ]
    caption = "The first seed of each model; the dot is at its best epoch."
    return Html(picture + figure(curve_figures.dice_curves(curves, []), caption))
