"""What a sweep's command line asks for, as a sweep and a job."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config.distributions import Choice, Params, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import parse
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Budget, Points, Split, Sweep

if TYPE_CHECKING:
    from brainseg.launch.job import Job
    from brainseg.tracking import Mode

from brainseg.cli.rehearsal import FEW_TRIALS, REHEARSAL, SMOKE, made_small, made_up_patients


def asked_job(args: argparse.Namespace) -> "Job":
    """Where and with what the sweep runs; without ``--data`` on made-up patients."""
    from brainseg.launch.job import Job

    made_up = args.data is None
    return Job(
        data=str(made_up_patients(_seen_by_all(args), smoke=args.smoke)) if made_up else args.data,
        storage=_kept(args.storage.expanduser()),
        layout=args.layout,
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        concurrent=args.concurrent,
        wait_minutes=args.wait,
        wandb="off" if args.smoke and not args.wandb else asked_wandb(args),
        address=args.address,
        earlier=args.earlier.expanduser() if args.earlier else None,
        made_up=made_up,
        command=args.command,
    )


def _kept(storage: Path) -> Path:
    """A storage that outlives the command."""
    if "runtime_resources" in storage.resolve().parts:
        raise ValueError(
            "a Ray job's working directory is removed after it, and results with it, got "
            f"--storage {storage}; name a folder from the root of the file system"
        )
    return storage


def asked_wandb(args: argparse.Namespace) -> "Mode":
    """Online where W&B finds a key, unless the command line says otherwise."""
    from brainseg.tracking import default_mode

    asked: Mode | None = args.wandb
    return asked or default_mode()


def as_asked(sweep: Sweep, args: argparse.Namespace) -> Sweep:
    """``sweep`` with the command line's wishes, made small for a smoke test or a rehearsal."""
    whole = len(sweep.first)
    if args.smoke or args.data is None:
        sweep = made_small(sweep, SMOKE if args.smoke else REHEARSAL)
    space = _asked_space(sweep, args)
    tries = [
        _resolved(dict(parse(TrialConfig, part) for part in word.split(","))) for word in args.trial
    ]
    first = (*_reachable(space, sweep.first), *tries)
    if isinstance(sweep.strategy, Points) and not first:
        raise ValueError(
            f"nothing is left to try: none of the sweep's {whole} points agrees with the command "
            "line; hold less, or name points with --try"
        )
    return replace(
        sweep,
        name=_name(args.name or sweep.name + "-smoke" * args.smoke),
        space=space,
        first=first,
        strategy=_asked_strategy(sweep.strategy, args, len(first)),
        budget=_asked_budget(sweep, args),
        objectives=args.objectives or sweep.objectives,
        split=asked_split(args),
    )


def _asked_space(sweep: Sweep, args: argparse.Namespace) -> Space[TrialConfig]:
    """The sweep's space with what the command line holds or narrows."""
    named = {
        "epochs": args.epochs,
        "image_size": args.image_size,
        "seed": None if isinstance(sweep.strategy, Points) else args.seed,
        "model.encoder.weights": args.weights or ("none" if args.smoke else None),
    }
    fixed: Params = {path: value for path, value in named.items() if value is not None}
    fixed = _resolved(fixed | dict(parse(TrialConfig, word) for word in args.set))
    narrow = dict(sweep.space.narrow)
    if args.encoders:
        from brainseg.models.encoders import require_known

        _refuse_for_points(sweep.strategy, "--encoders", "name points with --try")
        for name in args.encoders:
            require_known(name)
        narrow["model.encoder.name"] = Choice(*args.encoders)
    return Space(sweep.space.base, sweep.space.search, narrow, {**sweep.space.fixed, **fixed})


def _asked_strategy(
    strategy: Bayes | Points, args: argparse.Namespace, points: int
) -> Bayes | Points:
    """The strategy with the command line's budget, seeds and grace."""
    few = min(FEW_TRIALS, max(points, 1)) if args.smoke else FEW_TRIALS
    small = args.smoke or args.data is None
    if isinstance(strategy, Points):
        for option, value in (("--grace", args.grace), ("--sampler", args.sampler)):
            _refuse_for_points(strategy, option if value else "", "leave it out")
        seeds = strategy.seeds if args.seed is None else (args.seed,)
        limit = few if small and args.seeds is None and not args.folds else strategy.trials
        limit = limit if args.trials is None else args.trials
        one_fold = any(parse(TrialConfig, word)[0] == "fold" for word in args.set)
        folds = 0 if one_fold else args.folds
        return Points(seeds=args.seeds or seeds, folds=folds, trials=limit)
    if args.seeds:
        raise ValueError(
            "--seeds is for sweeps that run a list of points; this one draws them, each with the "
            "one seed that --seed names"
        )
    trials = min(few, strategy.trials) if small else strategy.trials
    return replace(
        strategy,
        trials=trials if args.trials is None else args.trials,
        grace_epochs=strategy.grace_epochs if args.grace is None else args.grace,
        sampler=args.sampler or strategy.sampler,
    )


def _asked_budget(sweep: Sweep, args: argparse.Namespace) -> Budget:
    """The sweep's limits with those of the command line."""
    own = sweep.budget
    for option, value in (
        ("--patience", args.patience),
        ("--terminator", args.terminator),
        ("--from", args.earlier),
    ):
        _refuse_for_points(sweep.strategy, option if value else "", "leave it out")
    return Budget(
        hours=own.hours if args.hours is None else args.hours,
        device_hours=own.device_hours if args.device_hours is None else args.device_hours,
        patience=own.patience if args.patience is None else args.patience,
        terminator=own.terminator or args.terminator,
    )


def _refuse_for_points(strategy: Bayes | Points, option: str, remedy: str) -> None:
    if option and isinstance(strategy, Points):
        raise ValueError(
            f"{option} is for sweeps that draw their points; this one runs a list; {remedy}"
        )


def asked_split(args: argparse.Namespace) -> Split:
    """The split of the command line; a file by its whole path, as records keep it."""
    is_file = args.split.lower().endswith(".csv")
    by = str(Path(args.split).expanduser().resolve()) if is_file else args.split
    return Split(
        by=by,
        validation=args.validation,
        test=args.test,
        seed=args.split_seed,
        folds=args.folds or 0,
    )


def _resolved(params: Params) -> Params:
    """``params`` with a weights file by its whole path: trials run in folders of their own."""
    weights = str(params.get("model.encoder.weights", "none"))
    if weights in ("none", "imagenet"):
        return params
    from brainseg.models.weights import is_path

    if not is_path(weights):
        return params
    return {**params, "model.encoder.weights": str(Path(weights).expanduser().resolve())}


def _reachable(
    space: Space[TrialConfig], points: Sequence[Mapping[str, Value]]
) -> list[Mapping[str, Value]]:
    """The script's own points that lie in the space as asked; it says which are left out."""
    kept = []
    for point in points:
        if why := _obstacle(space, point):
            words = ", ".join(f"{path}={value}" for path, value in point.items())
            print(f"left out: {words}; {why}")
        else:
            kept.append(point)
    return kept


def _obstacle(space: Space[TrialConfig], point: Mapping[str, Value]) -> str:
    """Why a point does not lie in a space that the command line changed, or nothing."""
    for path, value in point.items():
        if space.fixed.get(path, value) != value:
            return f"{path} is held at {space.fixed[path]}"
    try:
        space.split(point)
    except ValueError as error:
        return str(error).partition(";")[0]  # without the remedy: nobody asked for the point
    return ""


def _seen_by_all(args: argparse.Namespace) -> Path:
    """A folder that all machines see: of a cluster the storage, of this one the cache."""
    from brainseg.records.cache import default_cache

    on_cluster = args.address or os.environ.get("RAY_ADDRESS")
    return _kept(args.storage.expanduser()) / "made-up" if on_cluster else default_cache()


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(
            f"a sweep's name is made of letters, digits, '.', '_' and '-', got {text!r}"
        )
    return text
