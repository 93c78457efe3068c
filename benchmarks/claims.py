"""What a benchmark claims: figures of rounds in which ours and a baseline took turns, and a limit.

Every benchmark has a function ``claims`` that measures and returns some; `make bench` puts all of
them into one table. A figure is a ratio wherever it can be: machines differ, and are shared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


class NotHere(Exception):
    """This machine lacks what a benchmark needs; says what."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One figure, measured several times.

    Attributes:
        what: in words, such as "a training step of ResNet50, 128 px, batch 8".
        values: of each round.
        unit: "x" for a ratio, else such as "s" or "%".
        baseline: what it is compared with, in words; "" for none.
        limit: what the median must not be beyond; None if nothing is promised.
        better: whether a figure is better the higher or the lower it is.
    """

    what: str
    values: Sequence[float]
    unit: str = "x"
    baseline: str = ""
    limit: float | None = None
    better: Literal["higher", "lower"] = "higher"

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def is_kept(self) -> bool:
        """Whether the median is within the limit."""
        if self.limit is None:
            return True
        return self.figure >= self.limit if self.better == "higher" else self.figure <= self.limit

    def __str__(self) -> str:
        spread = f" ({min(self.values):.3g} to {max(self.values):.3g})"
        text = f"{self.what}: {self.figure:.3g} {self.unit}{spread * (len(self.values) > 1)}"
        text += f", against {self.baseline}" * bool(self.baseline)
        if self.limit is None:
            return text
        bound = "at least" if self.better == "higher" else "at most"
        verdict = "kept" if self.is_kept else "NOT KEPT"
        return f"{text}; {bound} {self.limit:g}: {verdict}"


def taking_turns(
    works: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each work in each round; the works take turns, and who begins changes.

    Args:
        clock: `time.process_time` for the CPU time of this process with its threads.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before = clock()
            works[name]()
            seconds[name].append(clock() - before)
    return seconds


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """``above`` over ``below``, round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]
