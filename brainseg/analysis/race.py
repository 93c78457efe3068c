"""Which configurations of a confirmation cannot be the best: no further seed is spent on them.

After each seed but the last, whoever is beaten by another configuration leaves. Half of the error
that the comparison may make is spent on these looks, in equal parts, the other half at the end;
each is divided by the number of configurations less one (see ``best_set``). The two highest always
stay: a leader needs somebody to be compared with.

Shapes: C configurations, S seeds, P patients.
"""

from dataclasses import dataclass

import numpy as np

from brainseg.analysis.best_set import pairwise
from brainseg.analysis.estimate import LEVEL, Floats, Trainings

ALPHA = 1 - LEVEL


@dataclass(frozen=True, kw_only=True)
class Beaten:
    """A configuration that leaves, and by what it is beaten; both are places in the list given."""

    place: int
    by: int
    difference: float  # its Dice less the other's
    bound: float  # the upper bound of that, below 0


def tail(configurations: int, *, looks: int, last: bool) -> float:
    """The one-sided level of a single test: at one of the ``looks``, or in the comparison."""
    tests = configurations - 1
    if not looks:
        return ALPHA / tests
    return ALPHA / 2 / tests if last else ALPHA / 2 / looks / tests


def beaten(dice_CSP: Floats, trainings: Trainings, level: float) -> list[Beaten]:
    """Who leaves after these seeds; ``level`` is that of a single test, see ``tail``."""
    differences = pairwise(dice_CSP, trainings)
    mean_CC = np.array([[gap.mean for gap in row] for row in differences])
    high_CC = mean_CC + np.array([[gap.reach(level) for gap in row] for row in differences])
    stay = set(np.argsort(-dice_CSP.mean((1, 2)), kind="stable")[:2].tolist())
    rivals = high_CC.argmin(1)
    return [
        Beaten(place=c, by=int(by), difference=mean_CC[c, by], bound=high_CC[c, by])
        for c, by in enumerate(rivals)
        if c not in stay and high_CC[c, by] < 0
    ]
