"""The page's section on the claims that a sweep tests."""

from dataclasses import dataclass, replace

from brainseg.analysis.claims.contrasts import MEASURES
from brainseg.analysis.claims.verdicts import Verdict
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.claims import Faster, Rougher
from brainseg.report import claims, sentences
from brainseg.report.figures import curves as curve_figures
from brainseg.report.figures import style
from brainseg.report.figures.forest import Difference, difference_plot
from brainseg.report.html import Figure, Markup, render
from brainseg.report.results import Results
from brainseg.report.sections.curves import curve_of


@dataclass(frozen=True, kw_only=True)
class ShownClaim:
    """A claim with its verdict, the reason, and what to see of it."""

    text: str
    verdict: str
    why: str
    figures: list[Figure]


def claims_section(results: Results) -> Markup | None:
    """Each claim with its verdict, the numbers and the picture behind it."""
    shown = [
        ShownClaim(
            text=verdict.claim.text,
            verdict=verdict.word,
            why=verdict.why,
            figures=[
                *_differences(verdict),
                *_curves(results.snapshot, verdict),
            ],
        )
        for verdict in results.verdicts
    ]
    if not shown:
        return None
    return render(
        "claims",
        warnings=sentences.warnings(results.sweep),
        method=claims.METHOD,
        claims=shown,
    )


def _differences(verdict: Verdict) -> list[Figure]:
    rows = [
        Difference(
            name=f"{contrast.configuration.name} minus {contrast.rival.name}",
            value=contrast.difference,
            low=contrast.low,
            high=contrast.high,
        )
        for contrast in verdict.contrasts
        if contrast.ours
    ]
    if not rows:
        return []
    measure, _ = MEASURES[type(verdict.claim)]
    caption = (
        "Dot: the difference, the first minus the second. Line: its 95 % interval, where there is "
        "one; where it crosses zero, the difference settles nothing."
    )
    return [Figure(difference_plot(rows, measure), caption)]


def _curves(run: RunSnapshot, verdict: Verdict) -> list[Figure]:
    """The curves behind a claim that is about curves."""
    if not isinstance(verdict.claim, Faster | Rougher):
        return []
    measured = [contrast for contrast in verdict.contrasts if contrast.ours]
    if not measured:
        return []
    ours = {contrast.configuration.name: contrast.configuration for contrast in verdict.contrasts}
    theirs = {contrast.rival.name: contrast.rival for contrast in verdict.contrasts}
    configurations = [*ours.values(), *theirs.values()][: len(style.COLOURS)]
    curves = [
        replace(
            curve_of(run.trials[record.trial], configuration.name, record.best_epoch),
            colour=colour,
        )
        for configuration, colour in zip(configurations, style.COLOURS, strict=False)
        for record in configuration.records[:1]
    ]
    caption = "The first seed of each configuration; the dot is at its best epoch."
    return [Figure(curve_figures.dice_curves(curves, []), caption)]
