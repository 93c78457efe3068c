"""Which configurations of a search are trained again, in all folds, to measure their true Dice.

They are the best few by expected Dice, since the highest Dice among many trials is partly luck, and
baselines as a reference. The search's data, its locked test patients and its other settings stay as
they were; the folds divide the patients that were not locked, anew for each seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from brainseg.config.design import MODELS, Baselines, Design, other_seeds
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.origins import Confirms, Origin
from brainseg.config.points import too_few_trainings
from brainseg.config.schema import build, flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep
from brainseg.records.files import Unreadable
from brainseg.records.queries import by_configuration, failures
from brainseg.records.run import LIST, Run, TrialRecord
from brainseg.records.trial_state import TrialState
from brainseg.search.expected_dice import expected_dice

REPEAT: Params = {"seed": 0, "fold": 0}  # configurations are trained with several values of these


@dataclass(frozen=True, kw_only=True)
class RankedConfiguration:
    """One configuration of a search, whatever seeds and folds it was trained with."""

    config: TrialConfig  # with seed 0 and fold 0
    trial: str  # the best of its trials
    trials: tuple[str, ...]
    dice: float  # best validation Dice, mean over its trials
    expected: float | None  # mean expected Dice of its trials, see search/expected_dice.py
    state: TrialState


def confirmation(
    run: Run,
    *,
    top: int | None = None,
    folds: int | None = None,
    seeds: Sequence[int] | None = None,
    baselines: Baselines | None = None,
    trials: int | None = None,
    race: bool | None = None,
) -> Sweep:
    """The sweep that confirms a search: its ``top`` configurations and the baselines.

    A baseline that is among the best is not trained twice. A confirmation that was started keeps
    its configurations, even if the search has continued since, and its design but for seeds that
    are added; what is not given is as it was started, else as ``Design`` has it.

    Args:
        race: whether configurations that cannot be the best leave after each seed; None: as the
            confirmation was started, and a new one races.

    Raises:
        ValueError: a design that cannot be, tells too little, or is not the started one's; a search
            without a score or split by slices, or ``run`` is itself a confirmation.
    """
    search = run.settings()
    given = {"top": top, "folds": folds, "seeds": seeds and tuple(seeds), "baselines": baselines}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    beside = _beside(run, search)
    started = _started(beside, run, search)
    if started:
        design = Design.recorded(started).continued(asked, beside.path)
    else:
        design = Design(**{"seeds": other_seeds(search_seeds(run)), **asked})
    _refuse(run, search)
    if not started and (few := too_few_trainings(design.folds, design.seeds)):
        raise ValueError(few)
    space = space_of(search)
    chosen = _recorded(started) if started else _chosen(run, space, design)
    races = _races(beside, started, race, len(chosen))
    return Sweep(
        name=f"{search['name']}-confirm",
        question=f"{search['question']} The best {design.top} again, every patient out of fold.",
        space=space,
        first=tuple(point_of(config) for config in chosen),
        strategy=Points(seeds=design.seeds, folds=design.folds, trials=trials, race=races),
        split=split_of(search["split"], design.folds),
        confirms=Confirms(
            search=str(run.path.resolve()),
            name=search["name"],
            uid=search["uid"],
            top=design.top,
            origins=tuple(chosen.values()),
        ),
    )


def search_seeds(run: Run) -> set[int]:
    """The seeds that a search's trials were trained with."""
    return {int(record.params["seed"]) for record in run.trials() if "seed" in record.params}


def ranked_configurations(run: Run) -> list[RankedConfiguration]:
    """Every configuration that has a score: those trained to their end first, best first.

    Best is the highest expected Dice, or without one the highest Dice of any epoch. A configuration
    that was stopped early comes later, since its Dice is not of its last epoch.
    """
    return rank_configurations(run.trials(), expected_dice(run))


def rank_configurations(
    records: Sequence[TrialRecord], expected: Mapping[str, float]
) -> list[RankedConfiguration]:
    """The same from records that were read already, with the expected Dice by trial."""
    judged = (TrialState.DONE, TrialState.STOPPED)
    scored = [r for r in records if r.state in judged and r.dice is not None]
    ranked = [_ranked(group, expected) for group in by_configuration(scored)]
    return sorted(ranked, key=lambda c: (c.state != TrialState.DONE, -_selection_score(c)))


def how_chosen(run: Run, sweep: Sweep) -> str:
    """How the configurations of ``sweep``, the confirmation of ``run``, were chosen: a sentence."""
    if Run(run.path.resolve().parent / sweep.name).sweep.exists():
        return "These are the configurations that the confirmation was started with."
    ranked = ranked_configurations(run)
    highest = min(ranked, key=lambda c: (c.state != TrialState.DONE, -c.dice))
    if highest.expected is None:
        return "Chosen by the highest Dice of any epoch."
    rule = "Chosen by expected Dice, which corrects for luck; the highest Dice of any epoch"
    if highest == ranked[0]:
        return f"{rule} puts the same one first."
    return (
        f"{rule}, {highest.dice:.3f}, would put trial {highest.trial} first, "
        f"{configuration_name(highest.config)}, whose expected Dice is {highest.expected:.3f}."
    )


def expected_better(run: Path, best_first: Sequence[RankedConfiguration], leader: str) -> str:
    """Which trial has a higher expected Dice than ``leader``, the first by Dice; "" if none.

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
        f"Trial {first.trial} ({configuration_name(first.config)}) has the highest expected Dice, "
        f"{first.expected:.3f}, although trial {leader} reached the highest Dice of any epoch. "
        f"`brainseg confirm {run}` shows which is better."
    )


def expected_seconds(run: Run, sweep: Sweep) -> float:
    """Device-seconds of all trials of ``sweep``, from the epochs of its search's trials.

    In a race this is the most: nobody leaves.
    A configuration that the search did not try is assumed to cost what its trials did on average.
    """
    costs = {
        record.trial: fmean(row.device_seconds for row in rows)
        for record in run.trials()
        if (rows := run.trial(record.trial).rows())
    }
    assert sweep.confirms and costs, "made from a search that has a score"
    usual = fmean(costs.values())
    one_repeat = sum(
        costs.get(origin.trial, usual) * sweep.space.config(point).epochs
        for origin, point in zip(sweep.confirms.origins, sweep.first, strict=True)
    )
    return one_repeat * sweep.trials / len(sweep.first)


def _refuse(run: Run, search: dict[str, Any]) -> None:
    trained, listed = run.trained(), {record.trial for record in run.trials()}
    if lost := [trial for trial in trained if trial not in listed]:
        raise Unreadable(run.changes, f"it does not list {', '.join(lost)}", LIST)
    if "confirms" in search:
        raise ValueError(
            f"{run.path} is itself the confirmation of {search['confirms']['search']}; name that "
            "search, and further --seeds to train more of this one"
        )
    if "refits" in search:
        raise ValueError(
            f"{run.path} is the refit of a configuration of {search['refits']['run']}, and nobody "
            "is left to confirm it on; name a search"
        )
    if search["split"]["shared_patients"]:
        raise ValueError(
            f"{run.path} has slices of one patient in several parts of its split, so its ranking "
            "says little about new patients; search again with --split patients, then confirm"
        )
    if not ranked_configurations(run):
        failed = failures(run.trials())
        remedy = f": {failed}; run its command again with --retry-failed, or" if failed else ";"
        raise ValueError(
            f"{run.path} has no finished trial with a score yet{remedy} let the search continue"
        )


def space_of(search: dict[str, Any]) -> Space[TrialConfig]:
    """The search's settings; what it drew is held at the base's values."""
    base = build(TrialConfig(), {**search["base"], "seed": 0, "fold": 0})
    fixed = {path: value for path, value in search["fixed"].items() if path not in REPEAT}
    return Space(base, search=(), fixed=fixed)


def _chosen(run: Run, space: Space[TrialConfig], design: Design) -> dict[TrialConfig, Origin]:
    known = {ranked.config: ranked for ranked in ranked_configurations(run)}
    chosen = {
        config: Origin(ranked.trial, baseline=False)
        for config, ranked in list(known.items())[: design.top]
    }
    for point in MODELS[design.baselines]:
        config = space.config(point)
        trial = known[config].trial if config in known else ""
        chosen[config] = replace(chosen.get(config, Origin(trial, baseline=True)), baseline=True)
    return chosen


def _beside(run: Run, search: dict[str, Any]) -> Run:
    """The folder of the confirmation, whether it was started or not."""
    return Run(run.path.resolve().parent / f"{search['name']}-confirm")


def _started(beside: Run, run: Run, search: dict[str, Any]) -> dict[str, Any]:
    """The settings of the confirmation, if it was started; else none.

    Raises:
        ValueError: its folder holds something else, such as the confirmation of an earlier search.
    """
    if not beside.sweep.exists():
        return {}
    started = beside.settings()
    if started.get("confirms", {}).get("uid") != search["uid"]:
        holds = "the confirmation of another search" if "confirms" in started else "another sweep"
        raise ValueError(
            f"{beside.path} holds {holds}, not that of {run.path}; move that folder away, or give "
            "it back its search"
        )
    return started


def _recorded(started: dict[str, Any]) -> dict[TrialConfig, Origin]:
    configs = [build(TrialConfig(), point) for point in started["first"]]
    origins = [Origin(**origin) for origin in started["confirms"]["arms"]]
    return dict(zip(configs, origins, strict=True))


def _races(beside: Run, started: dict[str, Any], asked: bool | None, configurations: int) -> bool:
    """Whether the confirmation races: as it was started, else as asked; by default it does.

    Of two configurations none could leave, so these are compared without a race.
    """
    wanted = asked is not False and configurations > 2
    if not started:
        return wanted
    raced = bool(started["strategy"].get("race", False))
    if asked is not None and wanted != raced:
        raise ValueError(
            f"{beside.path} was started {'with' if raced else 'without'} a race, and a race "
            "spends half of the error that the comparison may make: it cannot be changed once "
            "trials have run; leave --race out, or move that folder away to start again"
        )
    return raced


def _selection_score(ranked: RankedConfiguration) -> float:
    return ranked.dice if ranked.expected is None else ranked.expected


def _ranked(group: Sequence[TrialRecord], expected: Mapping[str, float]) -> RankedConfiguration:
    done = [record for record in group if record.state == TrialState.DONE] or group
    best = max(done, key=lambda record: record.dice or 0.0)
    return RankedConfiguration(
        config=build(TrialConfig(), {**best.params, **REPEAT}),
        trial=best.trial,
        trials=tuple(record.trial for record in group),
        dice=fmean(record.dice or 0.0 for record in done),
        expected=fmean(expected[record.trial] for record in done) if expected else None,
        state=best.state,
    )


def split_of(split: dict[str, Any], folds: int) -> Split:
    """The split of another run, with other folds."""
    names = ("by", "validation", "test", "seed")
    return Split(**{name: split[name] for name in names}, folds=folds)


def point_of(config: TrialConfig) -> Params:
    """A configuration as a point, without seed and fold."""
    return {path: value for path, value in flatten(config).items() if path not in REPEAT}
