"""What an earlier sweep has tried, for another that starts from it instead of from nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from brainseg.config.effect import with_effect
from brainseg.config.hyperparameters import TrialConfig, completed
from brainseg.config.schema import build
from brainseg.config.sweep import Objective, Sweep
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.multi_objective import ObjectiveCosts
from brainseg.search.observations import Observation, observation_of


@dataclass(frozen=True, kw_only=True)
class PreviousTrial:
    """A trial of another sweep that ended with a score."""

    name: str  # "encoders 0007"
    done: bool  # to its last epoch
    observation: Observation
    dice: tuple[float, ...]  # after each epoch
    costs: ObjectiveCosts  # by the new sweep's objectives, of a whole training
    objective_values: tuple[float, ...]  # as recorded

    @property
    def config(self) -> TrialConfig:
        return build(TrialConfig(), self.observation.params)


def previous_trials(
    run: Run, sweep: Sweep, asked: dict[str, Any], what_differs: Callable[[Run], str]
) -> list[PreviousTrial]:
    """The trials of ``run`` that ``sweep`` may learn from.

    Args:
        asked: what the new sweep will record in its sweep.json.
        what_differs: says how its data differ from those of a run; "" where they do not.

    Raises:
        ValueError: not a sweep's folder, or its space, data or split differ (the message says
            how): values from elsewhere would mislead the search.
    """
    if not run.sweep.exists():
        raise ValueError(
            f"--from must name a sweep's folder, {run.path} holds no sweep.json; name the folder "
            "of an earlier sweep"
        )
    known = run.settings()
    counted = with_effect(known.get("fixed", {}), sweep.space, sweep.first, draws=sweep.draws)
    known = {**known, "fixed": counted}
    differing = _differing(known, asked, what_differs(run))
    if differing:
        raise ValueError(
            f"--from needs a sweep of the same space, data and split, but in {run.path} "
            f"{'; '.join(differing)}; use the same settings, or leave out --from and name its best "
            "points with --try"
        )
    return [
        _previous_trial(run, f"{known['name']} {record.trial}", record, sweep.objectives)
        for record in run.trials()
        if record.state in (TrialState.DONE, TrialState.STOPPED, TrialState.PAUSED)
        and record.dice is not None
    ]


def _previous_trial(
    run: Run, name: str, record: TrialRecord, objectives: Sequence[Objective]
) -> PreviousTrial:
    folder, observation = run.trial(record.trial), observation_of(run, record)
    return PreviousTrial(
        name=name,
        done=record.state == TrialState.DONE,
        observation=observation,
        dice=tuple(row.dice for row in folder.rows()),
        costs=folder.expected_costs(objectives[1:], observation.epochs),
        objective_values=folder.objective_values(objectives),
    )


def _differing(known: dict[str, Any], asked: dict[str, Any], other_data: str) -> list[str]:
    """What differs between two sweep.json, as `optimizer.adamw.lr is searched in ..., here ...`."""
    words = []
    for key, verb in (("space", "searched in"), ("base", "held at"), ("fixed", "held at")):
        old, new = known.get(key, {}), asked[key]
        old = completed(old) if key == "base" else old
        for path in sorted(old.keys() | new.keys()):
            if key == "base" and path in (*known["space"], *asked["space"]):
                continue
            if old.get(path) != new.get(path):
                words.append(f"{path} is {verb} {_value(old, path)}, here {_value(new, path)}")
    if other_data:
        words.append(f"the data differ ({known['data']['root']}): {other_data}")
    if known["split"] != asked["split"]:
        names = ("by", "validation", "test", "seed", "folds")
        values = [(name, known["split"].get(name), asked["split"].get(name)) for name in names]
        differing = [f"{name} {old}, here {new}" for name, old, new in values if old != new]
        words.append(f"the split differs ({', '.join(differing) or 'who is in which part'})")
    return list(dict.fromkeys(words))


def _value(values: dict[str, Any], path: str) -> str:
    return str(values[path]) if path in values else "nothing"
