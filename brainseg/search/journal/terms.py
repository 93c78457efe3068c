"""Trials, values and ranges in Optuna's terms."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from brainseg.config.distributions import Distribution
from brainseg.config.hyperparameters import configuration_name
from brainseg.config.sweep import Sweep
from brainseg.records.trial_state import TrialState
from brainseg.search.warm_start import PreviousTrial

OPTUNA_STATES = {
    TrialState.DONE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}


def previous_as_optuna_trial(previous: PreviousTrial, sweep: Sweep) -> FrozenTrial:
    """A trial of an earlier sweep as one of this study."""
    drawn, pinned = sweep.space.split(previous.observation.params)
    single = len(sweep.objectives) == 1
    return create_trial(
        state=OptunaState.COMPLETE if previous.done else OptunaState.PRUNED,
        values=list(previous.objective_values) if previous.done or single else None,
        params=drawn,
        distributions=distributions_of(sweep.space.distributions(), drawn),
        user_attrs={
            "from": previous.name,
            "arm": configuration_name(previous.config),
            "pinned": pinned,
        },
        intermediate_values=dict(enumerate(previous.dice, start=1)) if single else None,
    )


class _Recorded:
    """A ``Suggester`` of given values, which notes what they are drawn from."""

    def __init__(self, drawn: Mapping[str, Any]) -> None:
        self.drawn = drawn
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.distributions[name] = optuna.distributions.FloatDistribution(low, high, log=log)
        return float(self.drawn[name])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.distributions[name] = optuna.distributions.IntDistribution(low, high, step=step)
        return int(self.drawn[name])

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.distributions[name] = optuna.distributions.CategoricalDistribution(choices)
        return self.drawn[name]


def distributions_of(
    ranges: Mapping[str, Distribution], drawn: Mapping[str, Any]
) -> dict[str, BaseDistribution]:
    """What each value was drawn from, in Optuna's terms."""
    recorded = _Recorded(drawn)
    for path in drawn:
        ranges[path].suggest(recorded, path)
    return recorded.distributions
