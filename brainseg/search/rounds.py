"""Which points of a race may be trained now: those of a seed, once all before it have ended.

What is queued follows from the list, from race.jsonl and from the trials that there are. So a
driver that was killed at any moment continues as an undisturbed one would: a seed of which a point
was queued is queued whole, and what was noted after a seed is not decided again.
"""

from collections.abc import Callable
from dataclasses import replace

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build
from brainseg.config.sweep import Points, Sweep
from brainseg.records.run import Run

Point = tuple[Params, Params]  # drawn and pinned, see ``Space.split``
Judge = Callable[[tuple[int, ...]], None]  # notes in race.jsonl who leaves after these seeds


def races(sweep: Sweep) -> bool:
    """Whether configurations may leave before the list is done."""
    return isinstance(sweep.strategy, Points) and sweep.strategy.race


def points_still_in(run: Run, sweep: Sweep) -> list[Point]:
    """The points of a list that are trained in the end, if nobody else leaves, in order."""
    assert isinstance(sweep.strategy, Points)
    gone = _gone(run)

    def is_in(point: Point) -> bool:
        drawn, pinned = point
        seeds = gone.get(_without_repeat(sweep.space.config({**drawn, **pinned})))
        return seeds is None or pinned["seed"] in seeds

    return list(filter(is_in, sweep.points()))[: sweep.strategy.trials]


class Rounds:
    """The rounds of a race, one for each seed."""

    def __init__(self, run: Run, sweep: Sweep, begun: set[int], judge: Judge) -> None:
        """
        Args:
            begun: seeds of which there are trials, or points in a queue.
        """
        assert isinstance(sweep.strategy, Points)
        self.run, self.sweep, self.judge = run, sweep, judge
        self.seeds = sweep.strategy.seeds
        self.points = points_still_in(run, sweep)
        latest = [self.seeds.index(seed) for seed in begun if seed in self.seeds]
        judged = [len(line["seeds"]) for line in run.left_race()]
        self._open = min(max([0, *latest, *judged]) + 1, len(self.seeds))

    def due(self) -> list[Point]:
        """The points that may be trained now, or were."""
        seeds = self.seeds[: self._open]
        return [(drawn, pinned) for drawn, pinned in self.points if pinned["seed"] in seeds]

    def next(self) -> list[Point]:
        """Every trial of the seeds so far has ended: judge them, and go to the next seed."""
        if self._open < len(self.seeds):
            self.judge(self.seeds[: self._open])
            self.points = points_still_in(self.run, self.sweep)
            self._open += 1
        return self.due()

    def may_shrink(self) -> bool:
        """Whether another configuration may leave: there is a further seed to be spared."""
        return len(self.due()) < len(self.points)

    def sentence(self) -> str:
        """How many configurations have left; "" if none has."""
        left = len(_gone(self.run))
        return f"{left} of {len(self.sweep.first)} configurations left the race" if left else ""


def _gone(run: Run) -> dict[TrialConfig, list[int]]:
    """The configurations that left, with the seeds that they were trained with."""
    left = {line["trial"]: line["seeds"] for line in run.left_race()}
    return {
        _without_repeat(build(TrialConfig(), record.params)): left[record.trial]
        for record in run.trials()
        if record.trial in left and record.params
    }


def _without_repeat(config: TrialConfig) -> TrialConfig:
    return replace(config, seed=0, fold=0)
