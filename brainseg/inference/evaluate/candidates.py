"""Which models an opening scores: the winner, its refit, the report's models where confirmed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, completed
from brainseg.config.schema import build, flatten
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS
from brainseg.inference.model import Model
from brainseg.inference.sources import open_model
from brainseg.inference.trained import refit_of
from brainseg.inference.winner import RunConfiguration, rank
from brainseg.process import Log
from brainseg.records.queries import REPEATS, is_list
from brainseg.records.run import Run

Role = Literal["winner", "refit", "report", "named"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model to score.

    Attributes:
        name: as tables have it.
        channels: that its images have.
        role: "winner", its "refit", one of the "report"'s models, or "named" with --arm.
        open: reads its networks; they are not kept, since all together may fill the memory.
    """

    name: str
    channels: int
    role: Role
    open: Callable[[], Model]


def candidates(run: Run, arm: str | None, log: Log) -> list[Candidate]:
    """The models of a run to score, the winner first.

    Raises:
        ValueError: no trial has finished, or there is no such ``arm``.
    """
    snapshot = RunSnapshot.load(run)
    ranking = rank(snapshot)
    if arm is not None:
        return [_candidate(snapshot, ranking.named(arm), "named")]
    winner = ranking.winner
    chosen = [_candidate(snapshot, winner, "winner")]
    if refit := refit_of(run, winner, log):
        name, again = f"{winner.name} (refit)", _opener(refit, None)
        chosen.append(replace(chosen[0], name=name, role="refit", open=again))
    if is_list(snapshot.sweep):
        for configuration in ranking.configurations[1:]:
            params = snapshot.trials[configuration.members[0]].record.params
            if _is_of_report(snapshot.sweep, params):
                chosen.append(_candidate(snapshot, configuration, "report"))
    return chosen


def facts_of(candidate: Candidate, model: Model) -> dict[str, Any]:
    """What evaluation.json says of a model."""
    described = model.description
    return {
        "name": candidate.name,
        "role": candidate.role,
        "kind": described.kind,
        "digest": model.digest(),
        "members": [member.trial for member in described.members],
        "threshold": model.threshold,
        "chosen_on": described.threshold.chosen_on or described.threshold.why,
        "image_size": model.image_size,
        "channels": model.channels,
    }


def _candidate(run: RunSnapshot, configuration: RunConfiguration, role: Role) -> Candidate:
    # By a trial where that is the model: of a search a trial's number names it, a name its leader.
    members = configuration.members
    arm = members[0] if len(members) == 1 else configuration.name
    params = completed(run.trials[members[0]].record.params)
    return Candidate(
        name=configuration.name,
        channels=int(params["channels"]),
        role=role,
        open=_opener(Run(run.path), arm),
    )


def _opener(run: Run, arm: str | None) -> Callable[[], Model]:
    return lambda: open_model(run.path, arm, refit=False)


def _is_of_report(sweep: Mapping[str, Any], params: Params) -> bool:
    """Whether a configuration is one of the report's models, as the run trained them."""
    if "confirms" in sweep:  # which lists whole configurations, and says which of them these are
        pairs = zip(sweep["first"], sweep["confirms"].get("arms", []), strict=False)
        known = [completed(point) for point, origin in pairs if origin.get("baseline")]
        return _without_repeats(completed(params)) in map(_without_repeats, known)
    base = build(TrialConfig(), {**sweep["base"], **dict.fromkeys(REPEATS, 0)})
    space = Space(base, search=())
    models = [_of_model(flatten(space.config(point))) for point in REPORT_MODELS]
    return _of_model(completed(params)) in models


def _without_repeats(params: Params) -> Params:
    return {path: value for path, value in params.items() if path not in REPEATS}


def _of_model(params: Params) -> Params:
    """What of a configuration is its network."""
    return {path: value for path, value in params.items() if path.split(".")[0] == "model"}
