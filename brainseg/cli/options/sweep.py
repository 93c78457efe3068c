"""The options of a command that runs a sweep, and their values as one typed object."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from brainseg.cli.options.budget import BudgetOptions, add_budget_options, budget_from_args
from brainseg.cli.options.parser import names, one_of, seeds, whole_number
from brainseg.cli.options.resume import ResumeOptions, add_resume_options, resume_from_args
from brainseg.cli.options.shared import (
    DATA,
    PlaceOptions,
    add_layout_options,
    add_place_options,
    add_split_options,
    place_from_args,
    split_from_args,
)
from brainseg.config.distributions import Params, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten, parse
from brainseg.config.sweep import Bayes, Objective, Points, Split, Sweep
from brainseg.data.address import local_path


def default_storage() -> Path:
    return Path(os.environ.get("BRAINSEG_STORAGE", "runs"))


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What a command line sets of a sweep; None leaves a setting as the sweep has it."""

    data: str | None = None  # None: made-up patients
    layout: str = "auto"
    label: str = ""  # what of a mask is tumour
    storage: Path = field(default_factory=default_storage)
    name: str | None = None
    split: Split = field(default_factory=Split)
    test_given: bool = True  # by --test; else a run that exists keeps the share that it locked
    smoke: bool = False
    seeds: tuple[int, ...] | None = None
    seed: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    encoders: tuple[str, ...] = ()
    weights: str | None = None
    fixed: Mapping[str, Value] = field(default_factory=dict)  # by --set
    points: tuple[Params, ...] = ()  # by --try
    budget: BudgetOptions = field(default_factory=BudgetOptions)
    grace: int | None = None
    sampler: Literal["gp", "tpe", "random"] | None = None
    objectives: tuple[Objective, ...] = ()
    earlier: Path | None = None  # by --from
    resume: ResumeOptions = field(default_factory=ResumeOptions)
    place: PlaceOptions = field(default_factory=PlaceOptions)
    command: str = ""  # as it was typed


def sweep_options(args: argparse.Namespace) -> SweepOptions:
    """What was typed of the options that ``add_sweep_options`` declares.

    Raises:
        ValueError: a hyperparameter that does not exist, a value that its rules refuse, or a
            split that cannot be.
    """
    return SweepOptions(
        data=args.data,
        layout=args.layout,
        label=args.label or "",
        storage=local_path(args.storage),
        name=args.name,
        split=split_from_args(args),
        test_given=args.test is not None,
        smoke=args.smoke,
        seeds=args.seeds,
        seed=args.seed,
        epochs=args.epochs,
        image_size=args.image_size,
        encoders=args.encoders,
        weights=args.weights,
        fixed=fixed_from(args.set),
        points=tuple(fixed_from(text.split(",")) for text in args.trial),
        budget=budget_from_args(args),
        grace=args.grace,
        sampler=args.sampler,
        objectives=args.objectives,
        earlier=local_path(args.earlier) if args.earlier else None,
        resume=resume_from_args(args),
        place=place_from_args(args),
        command=args.command,
    )


def fixed_from(assignments: list[str]) -> Params:
    """Hyperparameters of `PATH=VALUE`, each.

    Raises:
        ValueError: a hyperparameter that does not exist or is given two values, or a value that its
            rules refuse.
    """
    fixed: Params = {}
    for path, value in (parse(TrialConfig, assignment) for assignment in assignments):
        if fixed.setdefault(path, value) != value:
            raise ValueError(f"{path} is given twice, {fixed[path]} and {value}; leave one out")
    return fixed


def add_sweep_options(parser: argparse.ArgumentParser, sweep: Sweep) -> None:
    """Options of a command that runs ``sweep``, whose own settings are their defaults."""
    data = parser.add_argument_group("data and results")
    data.add_argument(
        "--data",
        metavar="DATA",
        help=f"{DATA}, which is copied to this machine once (default: made-up patients)",
    )
    add_layout_options(data)
    data.add_argument(
        "--storage",
        type=Path,
        default=default_storage(),
        metavar="FOLDER",
        help="folder of results; on a cluster, one that all machines see (default: "
        "$BRAINSEG_STORAGE, else runs)",
    )
    data.add_argument(
        "--name", help=f"results go to this folder in the storage (default: {sweep.name})"
    )
    _add_split_options(parser.add_argument_group("split"), sweep)
    trained = parser.add_argument_group("what is trained", _budget(sweep))
    _add_trial_options(trained, sweep)
    _add_configuration_options(trained, sweep)
    add_budget_options(parser.add_argument_group("budget: what is reached first ends it"), sweep)
    _add_search_options(parser.add_argument_group("search"), sweep)
    add_resume_options(parser.add_argument_group("trials that fail or hang"))
    add_place_options(parser.add_argument_group("machines"))


def _budget(sweep: Sweep) -> str:
    configurations = f"{len(sweep.first)} configuration{'s' * (len(sweep.first) != 1)}"
    if isinstance(sweep.strategy, Points):
        seeds = ", ".join(map(str, sweep.strategy.seeds))
        return (
            f"{configurations}, each trained to its last epoch once per seed ({seeds}): "
            f"{sweep.trials} trials"
        )
    if sweep.trials == 1:
        return "One configuration, trained to its last epoch: 1 trial"
    return (
        f"{configurations} first, then those that the search proposes: {sweep.trials} trials. "
        "Trials are paused now and then, and only the best resume."
    )


def _add_split_options(group: argparse._ArgumentGroup, sweep: Sweep) -> None:
    add_split_options(group, sweep.split)
    lists = isinstance(sweep.strategy, Points)
    fold = "" if lists else "; a search or a single trial uses one fold, --set fold=N, else fold 0"
    group.add_argument(
        "--folds",
        type=whole_number,
        metavar="K",
        default=sweep.split.folds,
        help=f"K-fold cross-validation by patient{fold} (default: {sweep.split.folds or 'none'})",
    )


def _add_trial_options(group: argparse._ArgumentGroup, sweep: Sweep) -> None:
    group.add_argument(
        "--smoke",
        action="store_true",
        help="only check that it runs: 2 epochs at 64 pixels, no downloads, made-up patients "
        "unless --data names yours; results go to a folder NAME-smoke",
    )
    group.add_argument(
        "--seeds",
        type=seeds,
        metavar="0,1,...",
        help="train every configuration once with each seed (fixed lists of configurations only)",
    )
    group.add_argument(
        "--seed",
        type=whole_number,
        metavar="N",
        help=f"the same seed for all trials (default: {_seeds(sweep)})",
    )
    group.add_argument(
        "--epochs",
        type=whole_number,
        metavar="N",
        help=f"epochs of each trial (default: {_of(sweep, 'epochs')})",
    )
    group.add_argument(
        "--image-size",
        type=whole_number,
        metavar="PIXELS",
        help=f"pixels a side (default: {_of(sweep, 'image_size')})",
    )


def _add_configuration_options(group: argparse._ArgumentGroup, sweep: Sweep) -> None:
    group.add_argument(
        "--encoders",
        type=names,
        default=(),
        metavar="A,B,...",
        help="search these encoders only, see `brainseg encoders` (search sweeps only)",
    )
    group.add_argument(
        "--weights",
        metavar="none|imagenet|medical:NAME|FILE",
        help=f"weights that encoders start from (default: {_of(sweep, 'model.encoder.weights')})",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="fix a hyperparameter; docs/hyperparameters.md lists them; may be repeated",
    )
    group.add_argument(
        "--try",
        action="append",
        default=[],
        metavar="PATH=VALUE,...",
        dest="trial",
        help="try this configuration after the sweep's own first ones; may be repeated",
    )


def _add_search_options(group: argparse._ArgumentGroup, sweep: Sweep) -> None:
    strategy = sweep.strategy if isinstance(sweep.strategy, Bayes) else None
    group.add_argument(
        "--grace",
        type=whole_number,
        metavar="EPOCHS",
        help="epochs every trial trains before it may be paused (search sweeps only"
        + (f"; default: {strategy.grace_epochs})" if strategy else ")"),
    )
    group.add_argument(
        "--sampler",
        type=one_of("gp", "tpe", "random"),
        metavar="gp|tpe|random",
        help="what proposes configurations: brainseg's Gaussian process, Optuna's TPE, or chance "
        + (f"(default: {strategy.sampler})" if strategy else "(search sweeps only)"),
    )
    group.add_argument(
        "--objectives",
        type=names,
        default=(),
        metavar="dice,COST,...",
        help="keep costs low as well as Dice high; a COST is device_seconds, parameters or "
        "milliseconds_per_image (default: dice)",
    )
    group.add_argument(
        "--from",
        type=Path,
        dest="earlier",
        metavar="RUN",
        help="warm start: learn from the trials of an earlier run of the same space, data and "
        "split (search sweeps only)",
    )


def _seeds(sweep: Sweep) -> str:
    listed = sweep.strategy.seeds if isinstance(sweep.strategy, Points) else ()
    return ", ".join(map(str, listed)) or _of(sweep, "seed")


def _of(sweep: Sweep, path: str) -> str:
    """The values of ``path`` among the configurations that the sweep tries first."""
    configs = [sweep.space.config(point) for point in sweep.first or ({},)]
    values = dict.fromkeys(flatten(config).get(path) for config in configs)
    return ", ".join(str(value) for value in values if value is not None)
