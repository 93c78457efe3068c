"""The options of a sweep's command line, and the sweep and the job that they ask for."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config.schema import flatten
from brainseg.config.sweep import Points, Split, Sweep

if TYPE_CHECKING:
    pass


def numbers(text: str) -> tuple[int, ...]:
    """`0,1,2` as a command line has it."""
    return tuple(int(number) for number in text.split(","))


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
