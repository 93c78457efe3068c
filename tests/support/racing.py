"""A race driven as launch/tune.py drives it, with tables of last epochs written, not trained."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep, grid
from brainseg.launch.race import judge_of
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from tests.support.small_run import begin
from tests.support.written import append_line, write_text

FOLDS, PATIENTS, SEEDS = 5, 40, (1, 2, 3)
HEIGHTS = {1e-3: 0.80, 2e-3: 0.7945, 5e-3: 0.801, 1e-1: 0.40}  # the mean Dice at a learning rate
RACED = Sweep(
    name="s-confirm",
    question="?",
    space=Space(TrialConfig(epochs=1), search=()),
    first=grid({"model": ("plain",), "optimizer.adamw.lr": tuple(HEIGHTS)}),
    strategy=Points(seeds=SEEDS, folds=FOLDS, race=True),
    split=Split(folds=FOLDS),
)


def planned(sweep: Sweep, **changes: object) -> Sweep:
    """The sweep with another strategy."""
    return replace(sweep, strategy=replace(sweep.strategy, **changes))  # type: ignore[arg-type]


def settings(run: Run, sweep: Sweep) -> None:
    """What the comparison and the report read of the sweep."""
    assert isinstance(sweep.strategy, Points)
    strategy = {"kind": "points", "seeds": list(sweep.strategy.seeds), "folds": FOLDS, "race": True}
    begin(run.path, name=sweep.name, phase="confirm", strategy=strategy)


@dataclass
class Racer:
    """A driver; the trials of (rate, seed, fold) in ``fails`` end with a failure."""

    run: Run
    sweep: Sweep = RACED
    slots: int = 1
    patients: int = PATIENTS
    fails: Collection[tuple[float, int, int]] = ()
    retry: bool = False
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run.create()
        settings(self.run, self.sweep)
        self.study = Study(self.run, self.sweep)
        self.scheduler = TrialScheduler(self.run, None)
        self.search = SearchDriver(
            self.run,
            self.study,
            self.scheduler,
            BudgetTracker(self.run, self.sweep.budget),
            num_trials=self.sweep.trials,
            slots=lambda: self.slots,
            judge=judge_of(self.run, self.sweep, self.said.append),
            retry=lambda record: "asked for" if self.retry else "",
        )

    def drive(self, steps: int = 10**6) -> None:
        """One trial after the other until the race ends, or so many."""
        for _ in range(steps):
            name = self.search.next()
            if name is None:
                break
            self.train(name)

    def train(self, name: str) -> None:
        config = build(TrialConfig(), params := self.study.params(name))
        folder, rate, seed = self.run.trial(name), params["optimizer.adamw.lr"], params["seed"]
        words = configuration_name(config)
        self.run.note(name, TrialState.RUNNING, configuration=words, params=params)
        if (rate, seed, params["fold"]) in self.fails:
            write_text(folder.failure, "out of memory")
            self.search.on_return(name)
            return
        patients = np.arange(self.patients)[params["fold"] :: FOLDS]
        luck = np.random.default_rng([seed, params["fold"], int(rate * 1e4)])
        dice = HEIGHTS[rate] + 0.01 * np.sin(patients) + 0.01 * luck.standard_normal(len(patients))
        score = float(dice.mean())
        row = {"epoch": 1, "dice": score, "iou": score, "best_dice": score, "best_epoch": 1}
        row |= {"lr": rate, "seconds": 1.0, "devices": 1, "train_loss": 0.1, "val_loss": 0.1}
        append_line(folder.metrics, row)
        names = [f"p{n:02d}" for n in patients]
        table = pd.DataFrame({"patient": names, "slices": 20, "tumour_slices": 5, "dice": dice})
        table.assign(tp=1, fp=1, fn=1, iou=dice).to_csv(folder.last, index=False)
        self.search.on_epoch(name, EpochRow.from_json(row))
        self.search.on_return(name)

    def trained(self) -> dict[tuple[float, int, int], TrialRecord]:
        """The trials that have ended, by learning rate, seed and fold."""
        return {
            (r.params["optimizer.adamw.lr"], r.params["seed"], r.params["fold"]): r
            for r in self.run.trials()
        }


def left(run: Run) -> list[tuple[float, tuple[int, ...]]]:
    """Who left, by learning rate, and after which seeds."""
    rates = {r.trial: r.params["optimizer.adamw.lr"] for r in run.trials()}
    return [(rates[line["trial"]], tuple(line["seeds"])) for line in run.left_race()]
