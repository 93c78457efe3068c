"""What precision=auto has measured, and so will choose."""

from collections.abc import Iterator
from typing import Any

from brainseg.doctor.collect import Evidence
from brainseg.doctor.findings import Finding, among
from brainseg.training.compute.figures import name_of
from brainseg.training.compute.rules import compute_of, gain_of, precision_of


def check_precision(evidence: Evidence) -> Iterator[Finding]:
    """A finding for each kind of machine; one for the nodes on which nothing is measured yet."""
    kinds: dict[str, list[str]] = {}
    for label, facts in evidence.nodes.items():
        for figures in facts.speeds:
            kinds.setdefault(_in_words(figures), []).append(label)
    for words, labels in kinds.items():
        seen = f"{words} (measured on {among(labels, evidence)})"
        yield Finding(level="ok", topic="precision", seen=seen)
    unknown = [label for label, facts in evidence.nodes.items() if not facts.speeds]
    if unknown:
        yield Finding(
            level="ok",
            topic="precision",
            seen=f"precision=auto is not measured yet on {among(unknown, evidence)}: the first "
            "trial of a sweep does that, in some seconds for each family of networks",
        )


def _in_words(figures: dict[str, Any]) -> str:
    families = [
        f"{key}: {_choice(key, steps, figures['updates'])}"
        for key, steps in sorted(figures["steps"].items())
    ]
    return f"precision=auto on {name_of(figures['kind'])}: {'; '.join(families)}"


def _choice(key: str, steps: dict[str, float], updates: dict[str, dict[str, float]]) -> str:
    """`bfloat16 (1.57x float32), channels last, fused`."""
    gain, precision = gain_of(steps), precision_of([steps])
    family = key.partition(",")[0]
    own = next((of for name, of in updates.items() if name.partition(",")[0] == family), {})
    chosen = compute_of(steps, own, precision).to_json()
    ratio = f"bfloat16 is {gain:.2f}x as fast" if gain else "bfloat16 could not be measured"
    return f"{precision} ({ratio}), {chosen['layout']}, {chosen['optimizer']}"
