"""Claims and their verdicts: table, CSV and terminal."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from brainseg.analysis.verdicts import MEASURES, Verdict
from brainseg.records import queries
from brainseg.records.files import write_text
from brainseg.report import sentences
from brainseg.report.results import Results

TITLE = "What the report concluded, tested"
METHOD = (
    "Best and worst: mean over seeds of the best validation Dice, paired by patient and seed. "
    "Converging and oscillating: measured on the curves of validation Dice, paired by seed. The "
    "95 % intervals are Student's, from the spread over patients and over seeds. A difference "
    "whose interval holds zero cannot be told."
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
        for one in verdict.contrasts or (None,):
            yield {
                **head,
                "measure": MEASURES[type(verdict.claim)][0],
                "arm": one.arm.words if one else "",
                "rival": one.rival.words if one else "",
                "arm_values": " ".join(f"{value:.6g}" for value in one.ours) if one else "",
                "rival_values": " ".join(f"{value:.6g}" for value in one.theirs) if one else "",
                "difference": one.difference if one else math.nan,
                "low": one.low if one else math.nan,
                "high": one.high if one else math.nan,
                "seeds": len(one.ours) if one else 0,
                "patients": one.patients if one else 0,
                "leaks": leaks,
            }
