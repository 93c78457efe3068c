"""The options of a sweep's command line, and the sweep and the job that they ask for."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config import TrialConfig
from brainseg.space import Choice, Params, Space, Value, parse
from brainseg.sweep import Split, Sweep

if TYPE_CHECKING:
    from brainseg.launch import Job

# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL: Params = {"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16}
REHEARSAL_TRIALS, REHEARSAL_GRACE = 8, 2
REHEARSAL_POINTS = [  # small encoders, all of them trained: after the script's own first points
    {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": "nothing"}
    for name in ("resnet18", "mobilenet_v2", "efficientnet-b0")
]


def _rehearsal(sweep: Sweep) -> Sweep:
    """``sweep`` small enough for two cores; the command line's wishes go before these."""
    space = sweep.space.holding(REHEARSAL)
    budget = min(REHEARSAL_TRIALS, sweep.strategy.trials)
    points = REHEARSAL_POINTS if space.distributions() else []
    return replace(
        sweep,
        space=space,
        first=(*sweep.first, *points),
        strategy=replace(sweep.strategy, trials=budget, grace_epochs=REHEARSAL_GRACE),
    )


def asked_job(args: argparse.Namespace) -> "Job":
    """Where and with what the sweep runs; without ``--data`` on made-up patients."""
    from brainseg.launch import Job
    from brainseg.tracking import default_mode

    made_up = args.data is None
    return Job(
        data=str(_made_up_patients()) if made_up else args.data,
        storage=args.storage.expanduser(),
        layout=args.layout,
        workers=args.workers,
        gpus=args.gpus,
        wandb=args.wandb or default_mode(),
        address=args.address,
        made_up=made_up,
        command=args.command,
    )


def as_asked(sweep: Sweep, args: argparse.Namespace) -> Sweep:
    """``sweep`` with the command line's wishes, made small where the patients are made up."""
    if args.data is None:
        sweep = _rehearsal(sweep)
    fixed: Params = {}
    named = {"epochs": args.epochs, "image_size": args.image_size, "seed": args.seed}
    named["model.encoder.weights"] = args.weights
    fixed |= {path: value for path, value in named.items() if value is not None}
    fixed = _resolved(fixed | dict(parse(TrialConfig, word) for word in args.set))
    narrow = dict(sweep.space.narrow)
    if args.encoders:
        from brainseg.encoders import require_known

        for name in args.encoders:
            require_known(name)
        narrow["model.encoder.name"] = Choice(*args.encoders)
    space = Space(sweep.space.base, sweep.space.search, narrow, {**sweep.space.fixed, **fixed})
    tries = [
        _resolved(dict(parse(TrialConfig, part) for part in word.split(","))) for word in args.trial
    ]
    first = [point for point in sweep.first if _reachable(space, point)]
    trials = sweep.strategy.trials if args.trials is None else args.trials
    return replace(
        sweep,
        name=_name(args.name or sweep.name),
        space=space,
        first=(*first, *tries),
        strategy=replace(
            sweep.strategy,
            trials=trials,
            grace_epochs=sweep.strategy.grace_epochs if args.grace is None else args.grace,
        ),
        split=asked_split(args),
    )


def asked_split(args: argparse.Namespace) -> Split:
    """The split of the command line; a file by its whole path, as records keep it."""
    is_file = args.split.lower().endswith(".csv")
    by = str(Path(args.split).expanduser().resolve()) if is_file else args.split
    return Split(by=by, validation=args.validation, test=args.test, seed=args.split_seed)


def _resolved(params: Params) -> Params:
    """``params`` with a weights file by its whole path: trials run in folders of their own."""
    weights = str(params.get("model.encoder.weights", "none"))
    if weights in ("none", "imagenet"):
        return params
    return {**params, "model.encoder.weights": str(Path(weights).expanduser().resolve())}


def _reachable(space: Space[TrialConfig], point: Mapping[str, Value]) -> bool:
    """Whether a point of the script's own still lies in a space that the command line changed."""
    if any(space.fixed.get(path, value) != value for path, value in point.items()):
        return False
    try:
        space.split(point)
    except ValueError:
        return False
    return True


def _made_up_patients() -> Path:
    """Phantoms in the cache, written at the first call."""
    from brainseg.pack import default_cache
    from brainseg.phantom import write_phantoms

    print("no --data: made-up patients are used, to rehearse; they tell nothing about real ones")
    return write_phantoms(default_cache() / "phantoms", patients=24, slices=16, size=128, seed=0)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(
            f"a sweep's name is made of letters, digits, '.', '_' and '-', got {text!r}"
        )
    return text


def add_split_options(group: argparse._ActionsContainer) -> None:
    usual = Split()
    group.add_argument(
        "--split",
        default=usual.by,
        metavar="patients|slices|FILE.csv",
        help="slices is the report's, and leaks; a file has the columns patient,split or "
        "patient,slice,split; default: patients",
    )
    shares = (("--validation", usual.validation, "share"), ("--test", usual.test, "share locked"))
    for option, share, what in shares:
        group.add_argument(option, type=float, default=share, help=f"{what}; default: {share}")
    group.add_argument("--split-seed", type=int, default=usual.seed, help=f"default: {usual.seed}")


def add_sweep_options(parser: argparse.ArgumentParser, *, trials: int) -> None:
    base = TrialConfig()
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
    data.add_argument("--storage", type=Path, default=Path("runs"), help="default: runs")
    data.add_argument("--name", help="folder in the storage; default: the sweep's own name")
    add_split_options(data)
    what = parser.add_argument_group("what is tried")
    what.add_argument("--trials", type=int, help=f"how many in all; default: {trials}")
    what.add_argument("--epochs", type=int, help=f"of each trial; default: {base.epochs}")
    what.add_argument("--grace", type=int, help="epochs before a trial may be stopped; default: 4")
    what.add_argument("--image-size", type=int, help=f"pixels; default: {base.image_size}")
    what.add_argument(
        "--encoders",
        type=lambda text: text.split(","),
        metavar="A,B,...",
        help="search these encoders only",
    )
    what.add_argument(
        "--weights",
        metavar="none|imagenet|FILE",
        help="what encoders start from; default: imagenet",
    )
    what.add_argument("--seed", type=int, help="default: 0")
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
    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that train one network together (DDP); default: 1",
    )
    where.add_argument("--gpus", type=float, help="of each worker; default: 1 if there are any")
    where.add_argument("--address", help="of a running Ray cluster; default: $RAY_ADDRESS or here")
    where.add_argument(
        "--wandb",
        choices=("online", "offline", "off"),
        help="default: online with a key, else offline",
    )
