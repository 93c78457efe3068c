"""The options of a sweep's command line, and the sweep and the job that they ask for."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import Choice, Params, Space, Value, flatten, parse
from brainseg.config.sweep import Bayes, Budget, Points, Split, Sweep

if TYPE_CHECKING:
    from brainseg.launch.run import Job
    from brainseg.tracking import Mode

# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL: Params = {"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16}
REHEARSAL_GRACE = 2
REHEARSAL_POINTS = [  # small encoders, all of them trained: after the script's own first points
    {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": "nothing"}
    for name in ("resnet18", "mobilenet_v2", "efficientnet-b0")
]
# With --smoke it only shows that it runs from its first point to its report.
SMOKE: Params = {"image_size": 64, "epochs": 2, "batch_size": 4, "model.plain.width": 4}
FEW_TRIALS = 8  # of a rehearsal and of a smoke test, at most


def _made_small(sweep: Sweep, held: Params) -> Sweep:
    """``sweep`` with ``held`` held, whatever its points say there, with one seed, no patience."""
    space = sweep.space.holding(held)
    points: list[Mapping[str, Value]] = [
        {path: value for path, value in point.items() if path not in held} for point in sweep.first
    ]
    strategy = sweep.strategy
    if isinstance(strategy, Points):
        strategy = replace(strategy, seeds=strategy.seeds[:1])
    else:
        strategy = replace(strategy, grace_epochs=REHEARSAL_GRACE)
        if "model.encoder.name" in space.distributions() and held is REHEARSAL:
            points += REHEARSAL_POINTS
    different: dict[TrialConfig, Mapping[str, Value]] = {}
    for point in points:
        different.setdefault(space.config(point), point)
    return replace(
        sweep,
        space=space,
        first=tuple(different.values()),
        strategy=strategy,
        budget=replace(sweep.budget, patience=0),
    )


def asked_job(args: argparse.Namespace) -> "Job":
    """Where and with what the sweep runs; without ``--data`` on made-up patients."""
    from brainseg.launch.run import Job

    made_up = args.data is None
    return Job(
        data=str(_made_up_patients(_seen_by_all(args), smoke=args.smoke)) if made_up else args.data,
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


def numbers(text: str) -> tuple[int, ...]:
    """`0,1,2` as a command line has it."""
    return tuple(int(number) for number in text.split(","))


def as_asked(sweep: Sweep, args: argparse.Namespace) -> Sweep:
    """``sweep`` with the command line's wishes, made small for a smoke test or a rehearsal."""
    whole = len(sweep.first)
    if args.smoke or args.data is None:
        sweep = _made_small(sweep, SMOKE if args.smoke else REHEARSAL)
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
    from brainseg.data.pack.store import default_cache

    on_cluster = args.address or os.environ.get("RAY_ADDRESS")
    return _kept(args.storage.expanduser()) / "made-up" if on_cluster else default_cache()


def _made_up_patients(folder: Path, *, smoke: bool) -> Path:
    """Phantoms below ``folder``, written at the first call."""
    from brainseg.data.phantom import write_phantoms

    print("no --data: made-up patients are used, to rehearse; they tell nothing about real ones")
    if smoke:
        return write_phantoms(folder / "few", patients=8, slices=5, size=64, seed=0)
    return write_phantoms(folder / "phantoms", patients=24, slices=16, size=128, seed=0)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(
            f"a sweep's name is made of letters, digits, '.', '_' and '-', got {text!r}"
        )
    return text


def add_split_options(group: argparse._ActionsContainer, usual: Split) -> None:
    """Options of a split; what ``usual`` says holds unless they say otherwise."""
    group.add_argument(
        "--split",
        default=usual.by,
        metavar="patients|slices|FILE.csv",
        help="slices is the report's, and leaks; a file has the columns patient,split or "
        f"patient,slice,split; default: {usual.by}",
    )
    shares = (("--validation", usual.validation, "share"), ("--test", usual.test, "share locked"))
    for option, share, what in shares:
        group.add_argument(option, type=float, default=share, help=f"{what}; default: {share}")
    group.add_argument("--split-seed", type=int, default=usual.seed, help=f"default: {usual.seed}")


def add_sweep_options(parser: argparse.ArgumentParser, sweep: Sweep) -> None:
    """Options of a command that runs ``sweep``, whose own settings are their defaults."""
    data = parser.add_argument_group("data and results")
    data.add_argument(
        "--data",
        metavar="DATA",
        help="folder of images and masks, or an address as s3://bucket/folder, which is copied "
        "here once; default: made-up patients",
    )
    data.add_argument(
        "--layout",
        default="auto",
        help="lgg, pairs, manifest, nnunet or nifti; default: found by looking",
    )
    data.add_argument(
        "--storage",
        type=Path,
        default=Path(os.environ.get("BRAINSEG_STORAGE", "runs")),
        help="folder of results, seen by all machines; default: $BRAINSEG_STORAGE, else runs",
    )
    data.add_argument("--name", help="folder in the storage; default: the sweep's own name")
    add_split_options(data, sweep.split)
    data.add_argument(
        "--folds",
        type=int,
        metavar="K",
        default=sweep.split.folds,
        help="cut all but the test patients into K folds, each of which validates in turn; of a "
        "single configuration or where points are drawn the one that --set fold=N names, else 0",
    )
    _add_trial_options(parser.add_argument_group("what is tried", _budget(sweep)), sweep)
    _add_search_options(parser.add_argument_group("how it is searched, and for how long"), sweep)
    add_place_options(parser.add_argument_group("where it runs"))


def _budget(sweep: Sweep) -> str:
    if isinstance(sweep.strategy, Points):
        seeds = ", ".join(map(str, sweep.strategy.seeds))
        return (
            f"{len(sweep.first)} points, each once with seed {seeds}, each to its last epoch: "
            f"{sweep.trials} trials"
        )
    return (
        f"{len(sweep.first)} points first, then what looks promising: {sweep.trials} trials; "
        "each pauses now and then, and only the best go on"
    )


def _add_trial_options(what: argparse._ArgumentGroup, sweep: Sweep) -> None:
    what.add_argument(
        "--smoke",
        action="store_true",
        help="only show that it runs: 2 epochs, 64 pixels, no download, a few made-up patients "
        "unless --data names yours; results go to a folder NAME-smoke",
    )
    what.add_argument(
        "--seeds",
        type=numbers,
        metavar="0,1,...",
        help="each point once with each; for sweeps that run a list of points",
    )
    what.add_argument("--seed", type=int, help="the only one; default: 0")
    what.add_argument("--epochs", type=int, help=f"of each trial; default: {_of(sweep, 'epochs')}")
    what.add_argument(
        "--image-size", type=int, help=f"pixels a side; default: {_of(sweep, 'image_size')}"
    )
    what.add_argument(
        "--encoders",
        type=lambda text: text.split(","),
        metavar="A,B,...",
        help="search these encoders only",
    )
    what.add_argument(
        "--weights",
        metavar="none|imagenet|medical:NAME|FILE",
        help=f"what encoders start from; default: {_of(sweep, 'model.encoder.weights')}",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="hold a hyperparameter at a value; may be repeated",
    )
    what.add_argument(
        "--try",
        action="append",
        default=[],
        metavar="PATH=VALUE,...",
        dest="trial",
        help="a point to try first; may be repeated",
    )


def _add_search_options(how: argparse._ArgumentGroup, sweep: Sweep) -> None:
    how.add_argument("--trials", type=int, help=f"how many in all; default: {sweep.trials}")
    how.add_argument(
        "--hours", type=float, help="of wall time, over all commands that go on with the sweep"
    )
    how.add_argument("--device-hours", type=float, help="of all trials together")
    how.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end once N trials in a row brought no better Dice, beyond what is noise",
    )
    how.add_argument(
        "--terminator",
        action="store_true",
        help="end where Optuna's terminator expects less than the noise; from 20 whole trials on",
    )
    how.add_argument(
        "--grace",
        type=int,
        metavar="EPOCHS",
        help="before a trial may pause; for sweeps that draw their points",
    )
    how.add_argument(
        "--sampler",
        choices=("gp", "tpe", "random"),
        help="who proposes points: brainseg's own Gaussian process, Optuna's TPE, or chance; "
        f"default: {getattr(sweep.strategy, 'sampler', 'none, points are listed')}",
    )
    how.add_argument(
        "--objectives",
        type=lambda text: tuple(text.split(",")),
        metavar="dice,COST,...",
        help="costs to keep low beside a high Dice: device_seconds, parameters, "
        "milliseconds_per_image; default: dice alone",
    )
    how.add_argument(
        "--from",
        type=Path,
        dest="earlier",
        metavar="FOLDER",
        help="start from the trials of an earlier sweep of the same space, data and split",
    )


def _of(sweep: Sweep, path: str) -> str:
    """The values of ``path`` in what the sweep tries by itself, in words."""
    configs = [sweep.space.config(point) for point in sweep.first or ({},)]
    values = dict.fromkeys(flatten(config).get(path) for config in configs)
    return ", ".join(str(value) for value in values if value is not None)


def add_place_options(where: argparse._ArgumentGroup) -> None:
    """Options that say where and with what trials run, and change nothing that they find."""
    where.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that train one network together (DDP); default: 1",
    )
    where.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="G",
        help="0.5 lets two trials share a GPU; default: 1 if there are any",
    )
    where.add_argument(
        "--concurrent",
        type=int,
        metavar="N",
        help="trials at once; in a cluster also what its autoscaler is asked for; default: as many "
        "as there is room for",
    )
    where.add_argument("--address", help="of a running Ray cluster; default: $RAY_ADDRESS or here")
    where.add_argument(
        "--wait",
        type=float,
        default=30.0,
        metavar="MINUTES",
        help="for room in a cluster, before it ends and says what is short; default: 30",
    )
    where.add_argument(
        "--offline",
        action="store_true",
        help="download nothing; weights must be here already, see `brainseg weights fetch`",
    )
    where.add_argument(
        "--wandb",
        choices=("online", "offline", "off"),
        help="default: online with a key, else offline",
    )
