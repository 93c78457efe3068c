"""Optuna's study of one run: what was tried, how each trial ended, and what to try next.

The study lives in the run's folder (`study.journal`; optuna-dashboard opens it). Each of its
trials has the number that names the trial everywhere else. A trial that trained to its last epoch
is COMPLETE there, one that was stopped is PRUNED with the value of its last epoch, one that failed
is FAIL, and a paused one is still RUNNING. Optuna reopens no trial, so one that is tried again
after it failed is one more trial there, whose attribute `retries` names it.
"""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.terminator import RegretBoundEvaluator, StaticErrorEvaluator, Terminator
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.sweep import TERMINATOR_TRIALS, Bayes, Sweep
from brainseg.process import Log
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_state import ENDED, TrialState
from brainseg.search.journal.study import quiet, trial_name, whole_study
from brainseg.search.journal.terms import OPTUNA_STATES
from brainseg.search.multi_objective import ObjectiveCosts, scalarise
from brainseg.search.observations import Observation
from brainseg.search.proposals.acquisition import propose
from brainseg.search.proposals.samplers import OptunaProposals
from brainseg.search.warm_start import PreviousTrial


class Study:
    """What was tried, and the points that are still to be tried."""

    def __init__(
        self,
        run: Run,
        sweep: Sweep,
        previous: Sequence[PreviousTrial] = (),
        log: Log = print,
    ) -> None:
        self.run, self.sweep = run, sweep
        self.study = whole_study(run, sweep, previous, log)
        sampler = sweep.strategy.sampler if isinstance(sweep.strategy, Bayes) else ""
        self._samples = OptunaProposals(sweep.space, sampler)
        self._may_wait = True  # a point, see ``has_queued``
        self._live: dict[str, optuna.Trial] = {}
        self._observed: dict[str, set[int]] = {}  # the epochs of these that Optuna has

    def unfinished(self) -> list[str]:
        """Trials that an earlier driver left running. One that never started is queued again.

        Epochs that they have finished, and ends that were recorded, but which the driver did not
        live to report to Optuna, are reported now.
        """
        running = self.study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        names = []
        records = {record.trial: record for record in self.run.trials()}
        for trial in running:
            name = trial_name(trial)
            self._take(name, trial)
            folder = self.run.trial(name)
            state = folder.state(records[name].state if name in records else None)
            if state in ENDED:
                self.report_end(name)
                continue
            self.report_epochs(name)
            if state == TrialState.RUNNING:
                names.append(name)
            elif state == TrialState.QUEUED:
                fixed = trial.system_attrs.get("fixed_params", trial.params)
                if (fixed, trial.user_attrs) not in self._waiting():  # or a driver died right here
                    self.study.enqueue_trial(fixed, user_attrs=trial.user_attrs)
                self._may_wait = True
                self.study.tell(trial.number, state=OptunaState.FAIL)
        return names

    def _waiting(self) -> list[tuple[Params, Params]]:
        """What is queued: the values, and what the trial will know of its point."""
        waiting = self.study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        return [(trial.system_attrs["fixed_params"], trial.user_attrs) for trial in waiting]

    def has_queued(self) -> bool:
        """Whether a point is queued that no trial tries yet; once none is, nobody looks again."""
        self._may_wait = self._may_wait and bool(self._waiting())
        return self._may_wait

    def queue(self, points: Sequence[tuple[Params, Params]]) -> None:
        """Queue the points, each as (drawn, pinned), that no trial has tried or is to try."""
        self._may_wait = True
        trials = [t for t in self.study.get_trials(deepcopy=False) if "pinned" in t.user_attrs]
        known = {self._config(t.params, t.user_attrs["pinned"]) for t in trials}
        for drawn, pinned in points:
            if self._config(drawn, pinned) not in known:
                self.study.enqueue_trial(drawn, user_attrs={"pinned": pinned})

    def _config(self, drawn: Params, pinned: Params) -> TrialConfig:
        return self.sweep.space.config({**drawn, **pinned})

    def seeds_begun(self) -> set[int]:
        """The seeds of which a point of a list was queued."""
        pinned = [t.user_attrs.get("pinned", {}) for t in self.study.get_trials(deepcopy=False)]
        return {point["seed"] for point in pinned if "seed" in point}

    def reopen(self, name: str) -> None:
        """Add a trial that tries again the failed trial ``name``, with all it has shown so far."""
        failed = [t for t in self.study.get_trials(deepcopy=False) if trial_name(t) == name][-1]
        self.study.add_trial(
            create_trial(
                state=OptunaState.RUNNING,
                params=failed.params,
                distributions=failed.distributions,
                user_attrs={**failed.user_attrs, "retries": name},
                system_attrs=failed.system_attrs,
                intermediate_values=failed.intermediate_values,
            )
        )
        self._take(name, self.study.get_trials(deepcopy=False)[-1])
        self.report_epochs(name)

    def _take(self, name: str, trial: FrozenTrial) -> None:
        """Let ``trial`` be the one that further epochs of ``name`` are reported to."""
        self._live[name] = optuna.Trial(self.study, trial._trial_id)
        self._observed[name] = set(trial.intermediate_values)

    def ask(self, observed: Sequence[tuple[Observation, ObjectiveCosts]] = ()) -> str:
        """Take the next queued point or propose one; write the trial's config, return its name.

        Args:
            observed: what the trials so far have shown, and what each costs in the further
                objectives; the proposal follows from this and the seed.
        """
        if not self.has_queued():
            number = len(self.study.get_trials(deepcopy=False))
            self.study.enqueue_trial(self._proposed(observed, number))
        trial = self.study.ask()
        space = self.sweep.space.holding(trial.user_attrs.get("pinned", {}))
        config = space.config(space(trial))
        name = f"{trial.number:04d}"
        trial.set_user_attr("arm", configuration_name(config))
        self._live[name], self._observed[name] = trial, set()
        self.run.trial(name).create(flatten(config))
        return name

    def _proposed(
        self, observed: Sequence[tuple[Observation, ObjectiveCosts]], number: int
    ) -> Params:
        """A new point; an interrupted study proposes what an uninterrupted one does."""
        strategy, space = self.sweep.strategy, self.sweep.space
        assert isinstance(strategy, Bayes), "a sweep of points queues all it will try"
        rng = np.random.default_rng([strategy.seed, number])
        several = len(self.sweep.objectives) > 1
        trials = scalarise(observed, rng) if several else [trial for trial, _ in observed]
        if strategy.sampler == "gp":
            return propose(space, trials, rng)
        return self._samples.propose(trials, int(rng.integers(2**31)))

    def observe(self, name: str, row: EpochRow) -> None:
        """Note what a trial was worth after an epoch, once; not where there are several objectives.

        That is its Dice, of a refit its training loss.
        """
        if len(self.sweep.judged_by) == 1 and row.epoch not in self._observed[name]:
            self._live[name].report(row.number(self.sweep.judged_by[0]), row.epoch)
            self._observed[name].add(row.epoch)

    def report_epochs(self, name: str) -> None:
        """Report the epochs that the trial has finished, but whose process or driver then died."""
        for row in self.run.trial(name).rows():
            self.observe(name, row)

    def report_end(self, name: str) -> None:
        """Report to Optuna, once, how the trial ended according to its records."""
        self.report_epochs(name)
        record = self.run.record(name)
        trial = self._live.pop(name)
        del self._observed[name]
        values = None
        if record.state == TrialState.DONE:
            values = list(self.run.trial(name).objective_values(self.sweep.judged_by))
        self.study.tell(trial, values, OPTUNA_STATES[record.state])

    def params(self, name: str) -> Params:
        return self.run.trial(name).params()

    def exhausted(self, noise: float) -> str:
        """Why Optuna's terminator expects no gain above the noise; "" if it does expect one.

        Source: Makarova et al. (2022), "Automatic termination for hyperparameter optimization".
        """
        done = self.study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
        if len(self.sweep.objectives) > 1 or len(done) < TERMINATOR_TRIALS or noise <= 0:
            return ""
        with quiet():
            terminator = Terminator(
                RegretBoundEvaluator(), StaticErrorEvaluator(noise), min_n_trials=TERMINATOR_TRIALS
            )
        if not terminator.should_terminate(self.study):
            return ""
        return f"Optuna's terminator expects a gain below the noise, {noise:.3f}"
