"""A search driven as launch/tune.py drives it, with rows written instead of networks trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from brainseg.config.distributions import Choice
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Points, Sweep
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.search.budget import BudgetTracker
from brainseg.search.driver import SearchDriver
from brainseg.search.halving import Halving
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from tests.support.written import append_line, write_text

SPACE = Space(
    TrialConfig(epochs=9),
    search=("model", "model.encoder.name", "model.encoder.freeze*", "optimizer.adamw.lr"),
    narrow={"model.encoder.name": Choice("vgg16", "resnet50", "mobilenet_v2")},
)
SWEEP = Sweep(
    name="s",
    question="?",
    space=SPACE,
    first=REPORT_MODELS,
    strategy=Bayes(trials=12, grace_epochs=1, reduction=3),
)
Curve = Callable[[str, int], float]


def dice(name: str, epoch: int) -> float:
    """Some trials are better than others, and all grow."""
    level = (int(name) * 7 % 11) / 20
    return 0.2 + level * epoch / 9


@dataclass
class Driver:
    """What launch/tune.py holds; drives one trial after the other."""

    run: Run
    sweep: Sweep = SWEEP
    curve: Curve = dice
    seconds: float = 1.0
    slots: int = 1
    retry: Callable[[TrialRecord], str] = lambda record: ""
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run.create()
        bayes = self.sweep.strategy
        assert isinstance(bayes, Bayes)
        self.study = Study(self.run, self.sweep)
        self.budget_tracker = BudgetTracker(self.run, self.sweep.budget)
        halving = Halving(grace=bayes.grace_epochs, reduction=bayes.reduction)
        self.scheduler = TrialScheduler(self.run, halving)
        self.search = SearchDriver(
            self.run,
            self.study,
            self.scheduler,
            self.budget_tracker,
            num_trials=bayes.trials,
            slots=lambda: self.slots,
            retry=self.retry,
        )

    def drive(self, steps: int = 10**6) -> None:
        """Begin trial after trial until the search ends, or so many were begun or taken up."""
        for _ in range(steps):
            name = self.search.next()
            if name is None:
                break
            self.order.append(name)
            self.train(name)

    def train(self, name: str) -> None:
        folder = self.run.trial(name)
        params = self.study.params(name)
        self.run.note(name, "running", params=params)
        while (done := len(folder.rows())) < (folder.pause_epoch or params["epochs"]):
            if folder.stop.exists():
                break
            self.epoch(name, done + 1)
        self.search.on_return(name)

    def epoch(self, name: str, epoch: int) -> None:
        best = max(self.curve(name, e) for e in range(1, epoch + 1))
        row: dict[str, Any] = {"epoch": epoch, "dice": self.curve(name, epoch), "best_dice": best}
        row |= {"best_epoch": epoch, "seconds": self.seconds, "devices": 1}
        row |= {"parameters": 1000 * (1 + int(name)), "milliseconds_per_image": 2.0}
        append_line(self.run.trial(name).metrics, row)
        if epoch == self.study.params(name)["epochs"]:
            write_text(self.run.trial(name).last, "patient,dice\n")
        spent = {
            "epoch": epoch,
            "start": 0.0,
            "train": self.seconds,
            "score": 0.0,
            "keep": 0.0,
            "devices": 1,
        }
        append_line(self.run.trial(name).costs_path, spent)
        self.search.on_epoch(name, EpochRow.from_json(row))


LISTED = Sweep(
    name="s",
    question="?",
    space=Space(TrialConfig(), search=()),
    first=REPORT_MODELS,
    strategy=Points(seeds=(3, 5)),
)


def end(study: Study, name: str, state: str, dice: float | None = None) -> None:
    """Let a trial of the study end in a state, with a score after one epoch if it is given one."""
    folder = study.run.trial(name)
    if dice is not None:
        row = {"epoch": 1, "dice": dice, "best_dice": dice, "best_epoch": 1, "parameters": 7}
        append_line(folder.metrics, {**row, "seconds": 1.0, "devices": 1})
        study.observe(name, folder.rows()[-1])
    if state != "done":
        write_text(folder.stop if state == "stopped" else folder.failure, "a reason")
    study.run.note(name, folder.ending().state, dice=dice)
    study.report_end(name)
