"""The comparison of a confirmation's configurations as a section of the report's page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainseg.analysis.comparison import ComparedConfiguration, Comparison
from brainseg.analysis.paired import Interval
from brainseg.records.queries import fold_count
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
        return render("note", text=comparison) if fold_count(sweep) else None
    rows = [
        _row(compared, not_worse=comparison.not_worse(place))
        for place, compared in enumerate(comparison.configurations)
    ]
    return render(
        "comparison",
        warnings=sentences.warnings(sweep),
        answer="" if fold_count(sweep) else answer(comparison),  # there it leads the page
        rows=rows,
        margin=f"{comparison.margin:g}",
        figure=_figure(comparison),
        notes=[*comparison.notes, METHOD, SCOPE],
    )


def _row(compared: ComparedConfiguration, *, not_worse: bool) -> ComparisonRow:
    return ComparisonRow(
        configuration=compared.name,
        dice=compared.dice,
        difference=compared.difference,
        p=p_words(compared.p),
        p_holm=p_words(compared.p_holm),
        tied=compared.tied,
        not_worse=not_worse,
        best_share=compared.first,
        ranks=ranks(compared),
        parameters=None if math.isnan(compared.parameters) else compared.parameters,
        device_seconds=compared.device_seconds,
    )


def _figure(comparison: Comparison) -> Figure:
    rows = [
        ForestRow(
            configuration=compared.name,
            difference=compared.difference.mean,
            interval=(compared.difference.low, compared.difference.high),
            bca=(compared.difference.bca_low, compared.difference.bca_high),
            best_share=compared.first,
            tied=compared.tied,
        )
        for compared in comparison.configurations
    ]
    return Figure(
        forest_plot(rows, comparison.margin),
        "Dot: mean difference to the leader. Solid line: its 95 % percentile interval; dashed: "
        "BCa. Blue: not significantly different from the leader. Green area: worse by less than "
        f"{comparison.margin:g}. Right: the share of bootstrap replicates in which the "
        "configuration is the best.",
    )
