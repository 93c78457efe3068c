"""Dice by site and by tumour size as a section of the report's page."""

from itertools import groupby

from brainseg.report import sentences
from brainseg.report.comparison_tables import EXPLORATORY
from brainseg.report.html import Markup, render
from brainseg.report.results import Results


def subgroups_section(results: Results) -> Markup | None:
    """A table a kind of group; nothing where there is no comparison, or nothing to divide by."""
    if not results.subgroups:
        return None
    kinds = groupby(results.subgroups, key=lambda group: group.kind)
    return render(
        "subgroups",
        note=EXPLORATORY,
        kinds={kind: list(groups) for kind, groups in kinds},
        warnings=sentences.warnings(results.sweep),
    )
