"""What the driver hears of its trials: noted in the records, told to Optuna and W&B, and said."""

from dataclasses import asdict
from typing import Any

from ray import tune

from brainseg.cluster.reachability import brief
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build
from brainseg.data.dataset import Say
from brainseg.records.files import write_text
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import Ending
from brainseg.search.scheduler import TrialScheduler
from brainseg.search.study import Study
from brainseg.tracking import Mirror
from brainseg.training import checkpoint


class Recorder(tune.Callback):
    """Notes every change of a trial's state, tells Optuna and W&B, says one line an epoch."""

    def __init__(
        self,
        run: Run,
        study: Study,
        scheduler: TrialScheduler,
        mirror: Mirror,
        trials: int,
        say: Say,
    ) -> None:
        self.run, self.study, self.scheduler, self.mirror = run, study, scheduler, mirror
        self.trials, self.say = trials, say
        self._epochs: dict[str, int] = {}  # that trials have finished

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = trial.config["trial"]
        params = self.run.trial(name).params()
        words = configuration_name(build(TrialConfig(), params))
        rows = self.run.trial(name).rows()
        self.run.note(name, "running", arm=words, params=params)
        after = f" again after epoch {rows[-1].epoch}" if rows else ""
        self.say(f"[{name}] begins{after}: {words}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" not in result:
            return
        name, row = trial.config["trial"], EpochRow.from_json(result)
        if row.epoch > self._epochs.get(name, 0):
            self._epochs[name] = row.epoch
            trial.run_metadata.num_failures = 0  # Tune itself never forgets one: see RETRIES
        self.mirror.follow(self.run.record(name))
        self.say(
            f"[{name}] epoch {row.epoch}/{self.scheduler.trials[name].epochs}  "
            f"loss {row.train_loss:.3f}  dice {row.dice:.3f}  "
            f"best {row.best_dice:.3f}  {row.seconds:.1f} s"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, crash=_cause(trial))

    def _end(self, trial: Any, crash: str = "") -> None:
        """What a trial's return means follows from its folder: it paused, or it has ended."""
        name = trial.config["trial"]
        ending = self.run.trial(name).ending(crash)
        if ending.state == "paused":
            self.run.note(name, "paused", **_facts(ending))
            self.scheduler.pause(name)
            checkpoint.keep_newest(self.run.trial(name).path)
            reason = self.scheduler.pause_reasons()[name]
            self.say(f"[{name}] pauses" + f" ({reason})" * bool(reason))
        else:
            self.scheduler.finish(name, failed=ending.state == "failed")
            self._close(name, ending)

    def stop_waiting(self, why: str) -> None:
        """The search has ended: what still waits at a rung is stopped there for good."""
        for name, reason in self.scheduler.pause_reasons().items():
            write_text(self.run.trial(name).stop, f"{reason}; {why}" if reason else why)
            self.scheduler.finish(name, failed=False)
            self._close(name, self.run.trial(name).ending())

    def _close(self, name: str, ending: Ending) -> None:
        self.run.note(name, ending.state, **_facts(ending))
        self.study.tell(name)  # noted before: see Study.unfinished
        checkpoint.drop_latest(self.run.trial(name).path)
        self.mirror.finish(self.run.record(name))
        ended = self.run.count_ended()
        score = "no score" if ending.dice is None else f"best dice {ending.dice:.3f}"
        reason = f" ({ending.reason})" if ending.reason else ""
        self.say(f"[{name}] {ending.state}: {score}{reason}; {ended} of {self.trials} trials ended")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one is made anew by each driver


def _cause(trial: Any) -> str:
    """What a trial of Tune died of."""
    error = trial.get_error()
    return brief(error) if error else "Ray gave no reason"


def _facts(ending: Ending) -> dict[str, Any]:
    return {name: value for name, value in asdict(ending).items() if name != "state"}
