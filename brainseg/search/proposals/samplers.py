"""A point by one of Optuna's samplers, from what the trials so far have shown."""

import copy
from collections.abc import Sequence
from datetime import datetime
from math import inf
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

MOST = 250  # trials that TPE is given; of so many or more it takes GOOD for good ones
GOOD = 25


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
            scored = [trial for trial in observed if trial.best]
            study.add_trials([self._shown(scored[number]) for number in considered(scored)])
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


def considered(trials: Sequence[Observation]) -> list[int]:
    """Numbers of the trials, all with a score, that TPE is given: all, if not more than MOST.

    Of more: those that it would take for the good ones among all, by its own order, and of the
    others a sample that is even over the time of their starts. It models where good trials lie
    against where the others do, so only the latter density is of fewer trials.
    """
    if len(trials) <= MOST:
        return list(range(len(trials)))

    def standing(number: int) -> tuple[float, float]:
        """Trials that are done come first, then those that trained furthest."""
        trial = trials[number]
        done = len(trial.best) == trial.epochs
        return -inf if done else -len(trial.best), -trial.best[-1]

    good = sorted(range(len(trials)), key=standing)[:GOOD]
    others = sorted(set(range(len(trials))) - set(good))
    sample = [others[i * len(others) // (MOST - GOOD)] for i in range(MOST - GOOD)]
    return sorted(good + sample)


class _Past(FrozenTrial):
    """A trial that nobody changes, so that a storage it is added to need not copy it whole."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Past":
        return copy.copy(self)
