"""Which configurations of a search are trained again, fold by fold, to learn what they are worth.

The best few by what they are expected to be worth, since many were tried and the one that showed
the highest Dice of many is lucky as well, and the report's four models, so that there is something
known to beat. The search's data, its locked patients and
its own settings stay as they were; folds are cut from the patients that it did not lock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Confirms, Origin, Points, Split, Sweep
from brainseg.records.files import read_json
from brainseg.records.queries import by_configuration
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.expected_dice import expected_dice


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One configuration of a search, whatever seeds and folds it was trained with."""

    config: TrialConfig  # with seed 0 and fold 0
    trial: str  # the best of those that it was tried in
    trials: tuple[str, ...]
    dice: float  # best validation Dice, mean over its trials
    expected: float | None  # Dice that they are expected to be worth, see search/expected_dice.py
    state: TrialState


def confirmation(
    run: Run,
    *,
    top: int = 3,
    folds: int = 5,
    seeds: Sequence[int] = (0, 1),
    baselines: bool = True,
    trials: int | None = None,
) -> Sweep:
    """The sweep that confirms a search: its ``top`` configurations and the report's models.

    Configurations differ beyond seed and fold; of the report's, those that are among the best are
    not trained twice. What is under way goes on with the configurations that it began with,
    however the search went on meanwhile.

    Raises:
        ValueError: ``top`` below 1, ``folds`` below 2, a search without a score, one split by
            slices, a confirmation.
    """
    search = read_json(run.sweep)
    _refuse(run, search, top, folds)
    space = _space(search)
    arms = _begun(run, search, top, baselines=baselines)
    arms = arms or _arms(run, space, top, baselines=baselines)
    return Sweep(
        name=f"{search['name']}-confirm",
        question=f"{search['question']} The best {top} again, every patient out of fold.",
        space=space,
        first=tuple(_point(config) for config in arms),
        strategy=Points(seeds=tuple(seeds), folds=folds, trials=trials),
        split=_split(search["split"], folds),
        confirms=Confirms(
            search=str(run.path.resolve()),
            name=search["name"],
            uid=search["uid"],
            top=top,
            origins=tuple(arms.values()),
        ),
    )


def candidates(run: Run) -> list[Candidate]:
    """Every configuration that has a score: those trained to their end first, best first.

    Best by the expected Dice, or where none is expected by the highest of any epoch. The Dice of
    one that was stopped early is not of its last epoch, so it counts less.
    """
    return candidates_of(run.trials(), expected_dice(run))


def candidates_of(records: Sequence[TrialRecord], expected: Mapping[str, float]) -> list[Candidate]:
    """The same of records that were read already, with the expected Dice by trial."""
    judged = (TrialState.DONE, TrialState.STOPPED)
    scored = [r for r in records if r.state in judged and r.dice is not None]
    found = [_candidate(group, expected) for group in by_configuration(scored)]
    return sorted(found, key=lambda one: (one.state != TrialState.DONE, -_selection_score(one)))


def chosen_by(run: Run, sweep: Sweep) -> str:
    """By which rule the arms of ``sweep``, the confirmation of ``run``, were chosen: a sentence."""
    if Run(run.path.resolve().parent / sweep.name).sweep.exists():
        return "These are the configurations that the confirmation was begun with."
    found = candidates(run)
    lucky = min(found, key=lambda one: (one.state != TrialState.DONE, -one.dice))
    if lucky.expected is None:
        return "Chosen by the highest Dice of any epoch."
    said = "Chosen by expected Dice, which tells quality from luck; the highest Dice of any epoch"
    if lucky == found[0]:
        return f"{said} puts the same one first."
    return (
        f"{said}, {lucky.dice:.3f}, would put trial {lucky.trial} first, "
        f"{configuration_name(lucky.config)}, of which {lucky.expected:.3f} is expected."
    )


def overtaken(run: Path, best_first: Sequence[Candidate], leader: str) -> str:
    """What is expected of more than of trial ``leader``, the first by its Dice, or nothing.

    Args:
        run: the search's folder.
    """
    first = next(iter(best_first), None)
    if (
        first is None
        or first.expected is None
        or first.state != TrialState.DONE
        or leader in first.trials
    ):
        return ""
    return (
        f"Of trial {first.trial} ({configuration_name(first.config)}) more is expected than of "
        f"trial {leader}, which showed the highest Dice: {first.expected:.3f}, see expected Dice. "
        f"`brainseg confirm {run}` settles it."
    )


def expected_seconds(run: Run, sweep: Sweep) -> float:
    """Device-seconds of all trials of ``sweep``, at what an epoch of its search's trials took.

    An arm that the search did not try is taken to cost what its trials did on average.
    """
    costs = {
        record.trial: fmean(row.device_seconds for row in rows)
        for record in run.trials()
        if (rows := run.trial(record.trial).rows())
    }
    assert sweep.confirms and costs, "made from a search that has a score"
    usual = fmean(costs.values())
    one_repeat = sum(
        costs.get(arm.trial, usual) * sweep.space.config(point).epochs
        for arm, point in zip(sweep.confirms.origins, sweep.first, strict=True)
    )
    return one_repeat * sweep.trials / len(sweep.first)


def _refuse(run: Run, search: dict[str, Any], top: int, folds: int) -> None:
    if top < 1:
        raise ValueError(f"top must be at least 1 configuration of the search, got {top}; try 3")
    if folds == 0:  # any other number is the split's to refuse
        raise ValueError("folds must be at least 2 to score every patient, got 0; try 5")
    if "confirms" in search:
        raise ValueError(
            f"{run.path} is itself the confirmation of {search['confirms']['search']}; name a "
            "search, and take other --seeds for more of this"
        )
    if search["split"]["shared_patients"]:
        raise ValueError(
            f"{run.path} parts slices of one patient, so its ranking says little about new ones; "
            "search again with --split patients, then confirm"
        )
    if not candidates(run):
        raise ValueError(f"{run.path} has no finished trial with a score yet; let the search go on")


def _space(search: dict[str, Any]) -> Space[TrialConfig]:
    """The search's settings, with all that it drew held where its base has it."""
    base = build(TrialConfig(), {**search["base"], "seed": 0, "fold": 0})
    fixed = {path: value for path, value in search["fixed"].items() if path not in _repeat()}
    return Space(base, search=(), fixed=fixed)


def _arms(
    run: Run, space: Space[TrialConfig], top: int, *, baselines: bool
) -> dict[TrialConfig, Origin]:
    known = {one.config: one for one in candidates(run)}
    arms = {config: Origin(one.trial, baseline=False) for config, one in list(known.items())[:top]}
    for point in REPORT_MODELS if baselines else ():
        config = space.config(point)
        trial = known[config].trial if config in known else ""
        arms[config] = replace(arms.get(config, Origin(trial, baseline=True)), baseline=True)
    return arms


def _begun(
    run: Run, search: dict[str, Any], top: int, *, baselines: bool
) -> dict[TrialConfig, Origin]:
    """The arms of the confirmation that stands beside the search; none before there is one."""
    beside = Run(run.path.resolve().parent / f"{search['name']}-confirm")
    if not beside.sweep.exists():
        return {}
    begun = read_json(beside.sweep)
    confirms = begun.get("confirms", {})
    if (confirms.get("uid"), confirms.get("top")) != (search["uid"], top):
        return {}  # it will be refused, or nothing confirms yet
    arms = [Origin(**arm) for arm in confirms["arms"]]
    if any(arm.baseline for arm in arms) != baselines:
        return {}
    configs = [build(TrialConfig(), point) for point in begun["first"]]
    return dict(zip(configs, arms, strict=True))


def _selection_score(one: Candidate) -> float:
    return one.dice if one.expected is None else one.expected


def _candidate(group: Sequence[TrialRecord], expected: Mapping[str, float]) -> Candidate:
    done = [record for record in group if record.state == TrialState.DONE] or group
    best = max(done, key=lambda record: record.dice or 0.0)
    return Candidate(
        config=build(TrialConfig(), {**best.params, **_repeat()}),
        trial=best.trial,
        trials=tuple(record.trial for record in group),
        dice=fmean(record.dice or 0.0 for record in done),
        expected=fmean(expected[record.trial] for record in done) if expected else None,
        state=best.state,
    )


def _split(split: dict[str, Any], folds: int) -> Split:
    names = ("by", "validation", "test", "seed")
    return Split(**{name: split[name] for name in names}, folds=folds)


def _point(config: TrialConfig) -> Params:
    return {path: value for path, value in flatten(config).items() if path not in _repeat()}


def _repeat() -> Params:
    """What every arm is trained with several of."""
    return {"seed": 0, "fold": 0}
