"""Claims and their verdicts: table, CSV and terminal."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from brainseg.analysis.claims.contrasts import MEASURES, Contrast
from brainseg.analysis.claims.verdicts import Verdict
from brainseg.records import queries
from brainseg.records.files import write_text
from brainseg.report import sentences
from brainseg.report.results import Results

TITLE = "What the report concluded, tested"
METHOD = (
    "Best and worst: mean Dice over patients and seeds at the last epoch, which no score chose, "
    "compared as in a comparison; for new patients and new trainings. Converging and oscillating: "
    "measured on the curves of validation Dice, paired by training; Student's intervals over "
    "trainings, for new trainings on these patients. A claim is supported if the interval of every "
    "comparison that it makes lies on its side of zero, refuted if that of one lies on the other. "
    "The bound on its side is corrected for the number of these comparisons, since one is enough "
    "to refute it. Verdicts are not corrected for the number of claims."
)


def write_claims(results: Results) -> Path | None:
    """Write claims.csv, a row a comparison; no file where the sweep carries no claim."""
    rows = list(_rows(results.verdicts, leaks=queries.leaks(results.sweep)))
    if not rows:
        return None
    path = results.snapshot.path / "claims.csv"
    write_text(path, pd.DataFrame(rows).to_csv(index=False))
    return path


def print_verdicts(results: Results, console: Console) -> None:
    """Each claim with its verdict and the numbers behind it."""
    if not results.verdicts:
        return
    console.print(Text(f"\n{TITLE}", style="bold"))
    for warning in sentences.warnings(results.sweep):
        console.print(Text(warning, style="red"))
    for verdict in results.verdicts:
        console.print(Text(f"{verdict.claim.text}: {verdict.word}", style="bold"))
        console.print(Text(f"  {verdict.why}"))
    console.print(Text(METHOD, style="dim"))
    console.print(Text(str(results.snapshot.path / "claims.csv")), soft_wrap=True)


def _rows(verdicts: Sequence[Verdict], *, leaks: bool) -> Iterator[dict[str, Any]]:
    for verdict in verdicts:
        head = {"claim": verdict.claim.text, "verdict": verdict.word, "why": verdict.why}
        head |= {"measure": MEASURES[type(verdict.claim)][0]}
        for contrast in verdict.contrasts or (None,):
            yield {**head, **(_numbers(contrast) if contrast else NO_NUMBERS), "leaks": leaks}


NO_NUMBERS: dict[str, Any] = {
    **{"arm": "", "rival": "", "arm_values": "", "rival_values": ""},
    **{"difference": math.nan, "low": math.nan, "high": math.nan, "seeds": 0, "patients": 0},
}


def _numbers(contrast: Contrast) -> dict[str, Any]:
    return {
        "arm": contrast.configuration.name,
        "rival": contrast.rival.name,
        "arm_values": " ".join(f"{value:.6g}" for value in contrast.ours),
        "rival_values": " ".join(f"{value:.6g}" for value in contrast.theirs),
        "difference": contrast.difference,
        "low": contrast.low,
        "high": contrast.high,
        "seeds": len(contrast.ours),
        "patients": contrast.patients,
    }
