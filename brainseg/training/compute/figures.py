"""Figures of how fast machines compute, in the node's cache: a file for each kind of machine.

    <cache>/compute/<digest of the kind>.json
      {"kind": {...}, "steps": {family: {candidate: seconds}},
       "updates": {"family, optimizer": {implementation: seconds}},
       "forwards": {family: {candidate: seconds}}, once a model predicted,
       "failed": {"family, candidate": why}}

A file that is damaged counts as missing. Imports no PyTorch: the doctor reads these.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainseg.records.cache import default_cache, read_checked
from brainseg.records.fields import Fields

SECTIONS = ("kind", "steps", "updates", "failed")
FIGURES = Fields((*SECTIONS, "kind.name"), dict.fromkeys(SECTIONS, dict))


def folder_of_figures() -> Path:
    return default_cache() / "compute"


def read_figures(path: Path) -> dict[str, Any] | None:
    """What a file holds; None where it is missing or damaged."""
    content = read_checked(path)
    if content is None:
        return None
    figures: dict[str, Any] = json.loads(content)
    return None if FIGURES.fault(figures) else figures


def all_figures() -> list[dict[str, Any]]:
    """Of every kind of machine that has used this cache."""
    read = map(read_figures, sorted(folder_of_figures().glob("*.json")))
    return [figures for figures in read if figures]


def name_of(kind: Mapping[str, str]) -> str:
    """`AMD EPYC with 2 threads`, or the name of a GPU."""
    threads = kind.get("threads")
    return kind["name"] + (f" with {threads} thread{'s' * (threads != '1')}" if threads else "")
