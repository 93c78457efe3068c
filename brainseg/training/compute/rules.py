"""What figures decide: a precision for all trials of a run; layout and optimizer for each family.

A candidate replaces a simpler one only where it is clearly faster, so that the noise of a
measurement does not choose between equals.
"""

from collections.abc import Iterable, Mapping
from math import prod

from brainseg.records.run import Precision
from brainseg.training.compute.plan import (
    IMPLEMENTATIONS,
    Compute,
    Implementation,
)

MARGIN = 1.03  # times as fast is clearly faster
SHARE = 0.01  # of a step: an optimizer's update that is shorter by less is not faster

Seconds = Mapping[str, float]  # of each candidate that could be measured
STEPS: dict[str, Compute] = {
    "float32": Compute(channels_last=False),
    "float32, channels last": Compute(),
    "bfloat16, channels last": Compute(precision="bfloat16"),
}


def gain_of(steps: Seconds) -> float:
    """How many times as fast as float32 bfloat16 is; 0 where it could not be measured."""
    best = {p: _fastest(steps, p) for p in ("float32", "bfloat16")}
    if not all(best.values()):
        return 0.0
    return best["float32"] / best["bfloat16"]


def precision_of(families: Iterable[Seconds]) -> Precision:
    """bfloat16 where it is clearly faster over the families, and makes none slower than eager.

    Eager is float32 as PyTorch computes it by itself. A family that float32 with channels last
    serves better still may lose by this, since all trials have one precision.
    """
    families = list(families)
    gains = [gain_of(steps) for steps in families]
    if not all(gains) or any(_slower_than_eager(steps) for steps in families):
        return "float32"
    return "bfloat16" if gains and prod(gains) ** (1 / len(gains)) >= MARGIN else "float32"


def _slower_than_eager(steps: Seconds) -> bool:
    """Whether bfloat16 takes longer; where eager could not be measured, than other float32."""
    eager = steps.get("float32", _fastest(steps, "float32"))
    return _fastest(steps, "bfloat16") > eager


def layout_of(steps: Seconds, precision: Precision) -> bool:
    """Whether channels come last in memory: always in bfloat16, else where that is faster.

    Without any figure, the simplest.
    """
    if precision == "bfloat16":
        return True
    plain, last = steps.get("float32"), steps.get("float32, channels last")
    if plain is None or last is None:
        return last is not None
    return plain / last >= MARGIN


def implementation_of(updates: Seconds, step: float) -> Implementation:
    """The simplest implementation whose update is as short as the shortest, up to a share.

    Args:
        updates: by implementation.
        step: seconds of a whole step.
    """
    fastest = min(updates.values(), default=0.0)
    for name in IMPLEMENTATIONS:
        if name in updates and updates[name] <= fastest + SHARE * step:
            return name
    return "loop"


def compute_of(steps: Seconds, updates: Seconds, precision: Precision) -> Compute:
    """How a trial of one family computes in ``precision``."""
    step = _fastest(steps, precision)
    return Compute(
        precision=precision,
        channels_last=layout_of(steps, precision),
        optimizer=implementation_of(updates, step),
    )


def _fastest(steps: Seconds, precision: str) -> float:
    """Seconds of the fastest candidate of a precision; 0 for none."""
    of = [seconds for name, seconds in steps.items() if STEPS[name].precision == precision]
    return min(of, default=0.0)
