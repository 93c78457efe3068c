"""The comparison of a confirmation's configurations as a section of the report's page."""

import math
from collections.abc import Mapping
from typing import Any

from brainseg.analysis.comparison import ComparedConfiguration, Comparison
from brainseg.analysis.scores import LeftRace
from brainseg.records.queries import fold_count
from brainseg.report import comparison as words
from brainseg.report import sentences
from brainseg.report.figures.forest import ForestRow, forest_plot
from brainseg.report.html import Figure, Markup, render

TITLE = "Comparison"
DRAWN = 50  # configurations in the picture, at most; the table has all


def section(sweep: Mapping[str, Any], comparison: Comparison | str) -> Markup | None:
    """Answer, table and picture; why there is no comparison leads the page of a confirmation."""
    if isinstance(comparison, str):
        return None
    # Of a confirmation the answer leads the page.
    lead = [] if fold_count(sweep) else [words.answer(comparison)]
    return render(
        "comparison",
        warnings=sentences.warnings(sweep),
        paragraphs=[*lead, *words.details(comparison)],
        rows=[_row(comparison, compared) for compared in comparison.configurations],
        left=comparison.left,
        figure=_figure(comparison),
        notes=comparison.notes,
        meanings=words.meanings(comparison),
        variation=words.variation(comparison, sweep),
    )


def _row(comparison: Comparison, compared: ComparedConfiguration) -> dict[str, Any]:
    """A configuration, and what of it the template cannot work out."""
    size = compared.parameters
    return {
        "compared": compared,
        "not_worse": comparison.not_worse(compared),
        "difference": words.signed(compared.to_best.mean),
        "to_best": words.span(compared.to_best.low, compared.to_best.high, "+"),
        "ranks": words.ranks(compared),
        "failed_p": words.p_words(compared.failures.p),
        "size": "" if math.isnan(size) else f"{size / 1e6:.1f} M",
    }


def _figure(comparison: Comparison) -> Figure:
    rows = [*map(_forest_row, comparison.configurations), *map(_left_row, comparison.left)]
    left = (
        " Hollow: left the race; the line ends at the most that the difference to the one that "
        "beat it may be."
    )
    first = f" The first {DRAWN} of {len(rows)} configurations are drawn."
    return Figure(
        forest_plot(rows[:DRAWN], comparison.margin),
        "Dot: Dice less that of the best of the others. Line: its 95 % interval, which holds for "
        "all configurations at once. Blue: may be the best. Green area: worse by less than "
        f"{comparison.margin:g}. Right: how often it is the best where patients and trainings are "
        f"drawn again.{left * bool(comparison.left)}{first * (len(rows) > DRAWN)}",
    )


def _forest_row(compared: ComparedConfiguration) -> ForestRow:
    return ForestRow(
        configuration=compared.name,
        difference=compared.to_best.mean,
        interval=(compared.to_best.low, compared.to_best.high),
        first=compared.first,
        may_be_best=compared.may_be_best,
    )


def _left_row(gone: LeftRace) -> ForestRow:
    return ForestRow(
        configuration=gone.name,
        difference=gone.difference,
        interval=(gone.difference, gone.bound),
        first=None,
        may_be_best=False,
    )
