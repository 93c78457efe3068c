"""Which point is tried next, and which trial is stopped early: Optuna's study, Tune's two seams.

The study lives in the run's folder (`study.journal`; optuna-dashboard opens it). Each of its
trials carries the number that names the trial everywhere else. A trial that ran to its end is
told COMPLETE, one stopped early PRUNED with its rungs' values, one that failed FAIL.
"""

import warnings
from collections import defaultdict
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from brainseg.config import arm
from brainseg.records import ENDED, Run, read_json, write_json, write_text
from brainseg.space import Params, flatten
from brainseg.sweep import Bayes, Sweep

TOLD = {
    "done": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Study:
    """Optuna's study of one run: what was tried, and what to try next."""

    def __init__(self, run: Run, sweep: Sweep) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(run.journal)))
        self.run, self.sweep = run, sweep
        self.study = optuna.create_study(
            storage=storage, study_name=sweep.name, direction="maximize", load_if_exists=True
        )
        if not self.study.trials:
            for drawn, pinned in sweep.points():
                self.study.enqueue_trial(drawn, user_attrs={"pinned": pinned})
        self._live: dict[str, optuna.Trial] = {}

    def unfinished(self) -> list[str]:
        """Trials that an earlier driver left running. One that never began is queued again."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        names = []
        ended = {record.trial: record for record in self.run.trials() if record.state in ENDED}
        for trial in running:
            name = f"{trial.number:04d}"
            self._live[name] = optuna.Trial(self.study, trial._trial_id)
            if name in ended:  # noted, and then the driver died before it told Optuna
                self.tell(name, ended[name].state, ended[name].dice)
            elif self.run.trial(name).config.exists():
                names.append(name)
            else:
                fixed = trial.system_attrs.get("fixed_params", trial.params)
                self.study.tell(trial.number, state=TrialState.FAIL)
                self.study.enqueue_trial(fixed, user_attrs=trial.user_attrs)
        return names

    def ask(self) -> str:
        """Draw a point, write it to the trial's folder, return the trial's name."""
        if isinstance(self.sweep.strategy, Bayes):
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = _sampler(self.sweep.strategy.seed, number)
        trial = self.study.ask()
        space = self.sweep.space.holding(trial.user_attrs.get("pinned", {}))
        config = space.config(space(trial))
        name = f"{trial.number:04d}"
        trial.set_user_attr("arm", arm(config))
        self._live[name] = trial
        write_json(self.run.trial(name).config, flatten(config))
        return name

    def observe(self, name: str, epoch: int, dice: float) -> None:
        self._live[name].report(dice, epoch)

    def tell(self, name: str, state: str, dice: float | None) -> None:
        """State the trial's end once. A score counts only from a trial that ran to its end."""
        trial = self._live.pop(name)
        value = dice if state == "done" else None
        self.study.tell(trial, value, TOLD[state])

    def params(self, name: str) -> Params:
        params: Params = read_json(self.run.trial(name).config)
        return params


class Suggestions(Searcher):
    """Tune's seam for a study: first what was left unfinished, then new points, up to a budget."""

    def __init__(self, study: Study, *, budget: int) -> None:
        super().__init__(metric="best_dice", mode="max")
        self.study, self.budget = study, budget
        self.names: dict[str, str] = {}  # Tune's trial id -> ours
        self._waiting = study.unfinished()

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, or Tune's word for none."""
        if self.budget <= 0:
            return Searcher.FINISHED
        self.budget -= 1
        name = self._waiting.pop(0) if self._waiting else self.study.ask()
        self.names[trial_id] = name
        return {"trial": name, **self.study.params(name)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "epoch" in result:
            self.study.observe(self.names[trial_id], result["epoch"], result["dice"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Left to whoever keeps the records: an end is noted there first, then told here."""

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; all there is to know is in the study's journal."""
        with open(checkpoint_path, "w") as file:
            file.write("see study.journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to do: a driver that starts again reads the journal."""

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget}  # Tune pickles its searcher; a study is opened, not copied


class Rungs:
    """Asynchronous successive halving: at each rung a trial must be among the best so far.

    A rung lies at ``grace * reduction**k`` epochs. A trial goes on beyond it if its best score
    until then is within the top 1 / reduction of all that reached the rung, itself included.

    Source: Li et al. (2020), "A system for massively parallel hyperparameter tuning",
    algorithm 2, in the stopping variant.
    """

    def __init__(self, *, grace: int, reduction: int) -> None:
        self.grace, self.reduction = grace, reduction
        self.scores: dict[int, dict[str, float]] = defaultdict(dict)

    def is_rung(self, epoch: int) -> bool:
        rung = self.grace
        while rung < epoch:
            rung *= self.reduction
        return rung == epoch

    def stops(self, trial: str, epoch: int, best_score: float) -> str:
        """Why the trial should stop at ``epoch``, or nothing."""
        if not self.is_rung(epoch):
            return ""
        scores = self.scores[epoch]
        scores[trial] = best_score
        if len(scores) < 2:
            return ""
        bar = float(np.quantile(list(scores.values()), 1 - 1 / self.reduction))
        if best_score >= bar:
            return ""
        return (
            f"at epoch {epoch} its best Dice {best_score:.3f} is below {bar:.3f}, "
            f"the bar for 1 in {self.reduction} of the {len(scores)} trials that came so far"
        )


def stopper(run: Run, sweep: Sweep) -> FIFOScheduler:
    """Who decides that a trial stops early: the rungs, or nobody where each point runs whole."""
    if isinstance(sweep.strategy, Bayes):
        grace, reduction = sweep.strategy.grace_epochs, sweep.strategy.reduction
        return Halving(run, Rungs(grace=grace, reduction=reduction))
    return FIFOScheduler()


class Halving(FIFOScheduler):
    """Tune's seam for the rungs: a trial that falls behind is told so, and returns by itself.

    Tune's own way, killing the trial's process, leaks what Ray Train started beneath it. Here
    the trial finds the file `stop` in its folder before its next epoch.
    """

    def __init__(self, run: Run, rungs: Rungs) -> None:
        super().__init__()
        self.run, self.rungs = run, rungs
        for record in run.trials():
            for row in run.trial(record.trial).rows():
                rungs.stops(record.trial, row["epoch"], row["best_dice"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        folder = self.run.trial(trial.config["trial"])
        if "epoch" in result and result["epoch"] < trial.config["epochs"]:
            reason = self.rungs.stops(folder.trial, result["epoch"], result["best_dice"])
            if reason and not folder.stop.exists():
                write_text(folder.stop, reason)
        return str(FIFOScheduler.CONTINUE)


def _sampler(sweep_seed: int, number: int) -> TPESampler:
    """Seeded by the sweep and the trial's number, so that an interrupted study draws as another."""
    seed = int(np.random.SeedSequence([sweep_seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, group=True, multivariate=True, constant_liar=True)
