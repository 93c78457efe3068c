"""The sweep and the job that options ask for."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options.given import (
    fixed_by,
    refuse_contradictions,
    refuse_misplaced,
    refuse_untried,
)
from brainseg.cli.options.rehearsal import GRACE_EPOCHS, Small, made_up_patients, small_for
from brainseg.cli.options.sweep import SweepOptions
from brainseg.cluster.reachability import LOCAL, cluster_address
from brainseg.config.distributions import Choice, Distribution, Params, Value
from brainseg.config.effect import refuse_idle_points, with_effect
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Budget, Points, Split, Sweep, draws
from brainseg.data.address import local_path
from brainseg.records.run import Run

if TYPE_CHECKING:
    from brainseg.launch.job import Job

Point = Mapping[str, Value]
LONGEST_NAME = 128
WEIGHTS = "model.encoder.weights"  # `--weights none` is true of a plain U-Net too, and no slip


def job_from_options(options: SweepOptions) -> "Job":
    """Where and with what the sweep runs; without ``--data`` on made-up patients."""
    made_up, place, storage = options.data is None, options.place, _lasting(options.storage)
    if options.smoke and place.wandb is None:
        place = replace(place, wandb="off")
    return place.job(
        data=options.data or str(made_up_patients(_seen_by_all(options), smoke=options.smoke)),
        storage=storage,
        layout=options.layout,
        label=options.label,
        earlier=options.earlier,
        resume=options.resume,
        made_up=made_up,
        command=options.command,
    )


def sweep_from_options(sweep: Sweep, options: SweepOptions) -> Sweep:
    """``sweep`` as the options change it, made small for a smoke test or a rehearsal."""
    refuse_contradictions(options)
    refuse_misplaced(sweep, options)
    small = small_for(options)
    fixed = _with_whole_path(fixed_by(options, sweep))
    space = _space(sweep.space, options, small, fixed)
    own, tried = _own_points(sweep, space, small), [*map(_with_whole_path, options.points)]
    refuse_untried(sweep, options, space, own, tried)
    first = [*own, *tried]
    if isinstance(sweep.strategy, Points) and not first:
        raise ValueError(
            f"a sweep needs something to train, but none of its {len(sweep.first)} configurations "
            "agrees with the options; fix less with --set, or name configurations with --try"
        )
    strategy = _strategy(sweep.strategy, options, small, len(first))
    given = fixed.keys() - ({WEIGHTS} if options.weights == "none" else set())
    name = _name(options.name or sweep.name + "-smoke" * options.smoke)
    return replace(
        sweep,
        name=name,
        space=_without_idle(space, first, strategy, given=given),
        first=tuple(first),
        strategy=strategy,
        budget=_budget(sweep.budget, options, small),
        objectives=options.objectives or sweep.objectives,
        split=_split(options, name),
    )


def _split(options: SweepOptions, name: str) -> Split:
    """The split; a run that exists keeps the share that it locked: 0.1 was the default once."""
    run = Run(options.storage / name)
    if options.test_given or not run.sweep.exists():
        return options.split
    return replace(options.split, test=run.settings()["split"]["test"])


def _space(
    space: Space[TrialConfig], options: SweepOptions, small: Small | None, fixed: Params
) -> Space[TrialConfig]:
    """The sweep's space, with what the options fix or narrow."""
    usual = {**space.fixed, **(small.fixed if small else {})}
    if options.smoke:
        usual[WEIGHTS] = "none"
    return replace(space, narrow=_narrow(space, options), fixed={**usual, **fixed})


def _without_idle(
    space: Space[TrialConfig], first: Sequence[Point], strategy: Bayes | Points, *, given: Set[str]
) -> Space[TrialConfig]:
    """``space`` without what it fixes to no effect; what a user has given stays, to be refused."""
    kept = with_effect(space.fixed, space, first, draws=draws(space, first, strategy))
    held = {path: value for path, value in space.fixed.items() if path in {*kept, *given}}
    return replace(space, fixed=held)


def _narrow(space: Space[TrialConfig], options: SweepOptions) -> Mapping[str, Distribution]:
    if not options.encoders:
        return space.narrow
    from brainseg.models.encoders import require_known

    for name in options.encoders:
        require_known(name)
    return {**space.narrow, "model.encoder.name": Choice(*options.encoders)}


def _own_points(sweep: Sweep, space: Space[TrialConfig], small: Small | None) -> list[Point]:
    """Those of the sweep's first points that lie in ``space``; prints which do not, and why."""
    if small is None:
        return _reachable(space, sweep.first)
    points: list[Params] = small.shrink(sweep.first)
    if "model.encoder.name" in space.distributions():
        points += small.more
    different: dict[TrialConfig, Point] = {}
    for point in _reachable(space, points):
        different.setdefault(space.config(point), point)
    return list(different.values())


def _reachable(space: Space[TrialConfig], points: Iterable[Point]) -> list[Point]:
    inside, left_out = [], {}
    for point in points:
        if why := _obstacle(space, point):
            words = ", ".join(f"{path}={value}" for path, value in point.items())
            left_out[f"left out: {words}; {why}"] = point
        else:
            inside.append(point)
    for sentence in left_out:
        print(sentence)
    return inside


def _obstacle(space: Space[TrialConfig], point: Point) -> str:
    """Why a point does not lie in a space that options changed, or nothing."""
    for path, value in point.items():
        if space.fixed.get(path, value) != value:
            return f"{path} is fixed at {space.fixed[path]}"
    try:
        space.split(point)
        refuse_idle_points(space, [point])
    except ValueError as error:
        return str(error).partition(";")[0]  # without the remedy: the user did not name this point
    return ""


def _strategy(
    strategy: Bayes | Points, options: SweepOptions, small: Small | None, points: int
) -> Bayes | Points:
    if isinstance(strategy, Points):
        return _list(strategy, options, small, points)
    trials = min(small.trials(points), strategy.trials) if small else strategy.trials
    grace = GRACE_EPOCHS if small else strategy.grace_epochs
    return replace(
        strategy,
        trials=trials if options.budget.trials is None else options.budget.trials,
        grace_epochs=grace if options.grace is None else options.grace,
        sampler=options.sampler or strategy.sampler,
    )


def _list(strategy: Points, options: SweepOptions, small: Small | None, points: int) -> Points:
    """All repeats of the points, with the options' seeds and folds; a few of them if small."""
    seeds = strategy.seeds[:1] if small else strategy.seeds
    if options.seed is not None:
        seeds = (options.seed,)
    few = small and options.seeds is None and not options.split.folds
    trials = small.trials(points) if small and few else strategy.trials
    return replace(
        strategy,
        seeds=options.seeds or seeds,
        folds=0 if "fold" in options.fixed else options.split.folds,
        trials=trials if options.budget.trials is None else options.budget.trials,
    )


def _budget(budget: Budget, options: SweepOptions, small: Small | None) -> Budget:
    patience, limits = 0 if small else budget.patience, options.budget
    return Budget(
        hours=budget.hours if limits.hours is None else limits.hours,
        device_hours=budget.device_hours if limits.device_hours is None else limits.device_hours,
        patience=patience if limits.patience is None else limits.patience,
        terminator=(budget.terminator or limits.terminator) and not small,
    )


def _with_whole_path(params: Params) -> Params:
    """``params`` with a weights file by its whole path: trials run in folders of their own."""
    weights = str(params.get("model.encoder.weights", "none"))
    if weights in ("none", "imagenet"):
        return params
    from brainseg.models.weights import is_path

    if not is_path(weights):
        return params
    return {**params, "model.encoder.weights": str(local_path(weights).resolve())}


def _lasting(storage: Path) -> Path:
    """A storage that outlives the command."""
    if "runtime_resources" in storage.resolve().parts:
        raise ValueError(
            "--storage must outlive the command, but Ray removes a job's working directory after "
            f"it, got {storage}; name a folder outside of it by its whole path"
        )
    return storage


def _seen_by_all(options: SweepOptions) -> Path:
    """A folder that all machines see: of a cluster the storage, of this one the cache."""
    from brainseg.records.cache import default_cache

    on_cluster = cluster_address(options.place.address) != LOCAL
    return options.storage / "made-up" if on_cluster else default_cache()


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(
            "--name must start with a letter or digit and hold only letters, digits, '.', '_' and "
            f"'-', got {text!r}"
        )
    if len(text) > LONGEST_NAME:
        raise ValueError(
            f"--name must have at most {LONGEST_NAME} characters, it names a folder; got "
            f"{len(text)}: {text[:20]}..."
        )
    return text
