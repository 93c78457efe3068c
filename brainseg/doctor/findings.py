"""A finding of the doctor: ok, a note or a problem; what, on which nodes, and what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from brainseg.doctor.collect import Evidence

Level = Literal["ok", "note", "problem"]
INSTALL = "pip install -c constraints.txt -e . (in brainseg's folder)"
NAMED = 4  # nodes named in a sentence; the rest are counted


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was checked."""

    level: Level
    topic: str
    seen: str
    remedy: str = ""


def among(labels: Iterable[str], evidence: Evidence) -> str:
    """These nodes in words: this machine, all 3 nodes, or their names."""
    names = list(labels)
    if not evidence.cluster:
        return "this machine"
    if len(names) > 1 and set(names) == set(evidence.nodes):
        return f"all {len(names)} nodes"
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def by_value(values: Mapping[str, str]) -> dict[str, list[str]]:
    """The nodes that share a value, the most frequent value first."""
    groups: dict[str, list[str]] = {}
    for label, value in values.items():
        groups.setdefault(value, []).append(label)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def values_by_node(values: Mapping[str, str], evidence: Evidence) -> str:
    """`2.14.1 on a, b; 2.13.0 on c`."""
    groups = by_value(values).items()
    return "; ".join(f"{value or 'none'} on {among(labels, evidence)}" for value, labels in groups)


def gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
