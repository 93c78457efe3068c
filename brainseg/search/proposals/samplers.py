"""A point by one of Optuna's samplers, from what the trials so far have shown."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.search.journal.study import quiet
from brainseg.search.journal.terms import distributions_of
from brainseg.search.observations import Observation


class OptunaProposals:
    """Proposes points of one space; what follows from a past trial's values is worked out once."""

    def __init__(self, space: Space[TrialConfig], sampler: str) -> None:
        self.space, self.sampler = space, sampler
        self._ranges = space.distributions()
        self._drawn: dict[tuple[Any, ...], tuple[Params, dict[str, BaseDistribution]]] = {}

    def propose(self, observed: Sequence[Observation], seed: int) -> Params:
        """The sampler knows each trial up to its last epoch so far; random draws need to know none.

        A running or paused trial counts as pruned, so that its value is not taken for a final one.
        """
        with quiet():
            sampler = self._sampler(seed)
            study = optuna.create_study(direction="maximize", sampler=sampler)
        if self.sampler != "random":
            study.add_trials([self._shown(trial) for trial in observed if trial.best])
        return self.space(study.ask())

    def _sampler(self, seed: int) -> BaseSampler:
        if self.sampler == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, group=True, multivariate=True)

    def _shown(self, trial: Observation) -> "_Past":
        known = tuple(trial.params.items())
        if known not in self._drawn:
            drawn, _ = self.space.split(trial.params)
            self._drawn[known] = drawn, distributions_of(self._ranges, drawn)
        drawn, distributions = self._drawn[known]
        done = len(trial.best) == trial.epochs
        now = datetime.now()
        return _Past(
            number=-1,
            trial_id=-1,
            state=OptunaState.COMPLETE if done else OptunaState.PRUNED,
            value=trial.best[-1],
            datetime_start=now,
            datetime_complete=now,
            params=drawn,
            distributions=distributions,
            user_attrs={},
            system_attrs={},
            intermediate_values={len(trial.best): trial.best[-1]},  # the only one a sampler reads
        )


class _Past(FrozenTrial):
    """A trial that nobody changes, so that a storage it is added to need not copy it whole."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Past":
        return copy.copy(self)
