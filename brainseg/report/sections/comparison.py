"""The comparison of a confirmation's configurations as a section of the report's page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainseg.analysis.comparison import Comparison, Standing
from brainseg.analysis.paired import Interval
from brainseg.records.queries import in_folds
from brainseg.report import sentences
from brainseg.report.comparison import METHOD, SCOPE, answer, p_words, ranks
from brainseg.report.figures.forest import ForestRow, forest_plot
from brainseg.report.html import Figure, Markup, render

TITLE = "Comparison"


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """A configuration beside the first of the table."""

    configuration: str
    dice: Interval
    difference: Interval  # to the first
    p: str
    p_holm: str
    tied: bool
    not_worse: bool
    best_share: float
    ranks: str
    parameters: float | None
    device_seconds: float


def section(sweep: Mapping[str, Any], comparison: Comparison | str) -> Markup | None:
    """Answer, table and picture; of a confirmation that cannot be compared yet, the reason."""
    if isinstance(comparison, str):
        return render("note", text=comparison) if in_folds(sweep) else None
    rows = [
        _row(standing, not_worse=place == 0 or standing.bound > -comparison.margin)
        for place, standing in enumerate(comparison.standings)
    ]
    return render(
        "comparison",
        warnings=sentences.warnings(sweep),
        answer="" if in_folds(sweep) else answer(comparison),  # there it leads the page
        rows=rows,
        margin=f"{comparison.margin:g}",
        figure=_figure(comparison),
        notes=[*comparison.notes, METHOD, SCOPE],
    )


def _row(standing: Standing, *, not_worse: bool) -> ComparisonRow:
    return ComparisonRow(
        configuration=standing.arm,
        dice=standing.dice,
        difference=standing.difference,
        p=p_words(standing.p),
        p_holm=p_words(standing.p_holm),
        tied=standing.tied,
        not_worse=not_worse,
        best_share=standing.first,
        ranks=ranks(standing),
        parameters=None if math.isnan(standing.parameters) else standing.parameters,
        device_seconds=standing.device_seconds,
    )


def _figure(comparison: Comparison) -> Figure:
    rows = [
        ForestRow(
            configuration=standing.arm,
            difference=standing.difference.mean,
            interval=(standing.difference.low, standing.difference.high),
            bca=(standing.difference.bca_low, standing.difference.bca_high),
            best_share=standing.first,
            tied=standing.tied,
        )
        for standing in comparison.standings
    ]
    return Figure(
        forest_plot(rows, comparison.margin),
        "Dot: mean difference to the leader. Solid line: its 95 % percentile interval; dashed: "
        "BCa. Blue: tied with the leader after correction. Green area: worse by less than "
        f"{comparison.margin:g}. Right: the share of bootstrap replicates in which the "
        "configuration is the best.",
    )
