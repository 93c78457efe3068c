"""The verbs: what a sweep script's command line and the `brainseg` command do."""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from brainseg import __version__
from brainseg.config import TrialConfig
from brainseg.records import Run
from brainseg.space import Choice, Params, Space, Value, parse
from brainseg.sweep import Bayes, Split, Sweep

# Each verb imports what it needs by itself: Ray, PyTorch and matplotlib take 8 CPU-seconds, which
# `brainseg check` and `--help` do without.

# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL: Params = {"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16}
REHEARSAL_TRIALS, REHEARSAL_GRACE = 8, 2
REHEARSAL_POINTS = [  # small encoders, all of them trained: after the script's own first points
    {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": "nothing"}
    for name in ("resnet18", "mobilenet_v2", "efficientnet-b0")
]
INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C

EPILOG = """\
examples:
  python {script} --data kaggle_3m                       all defaults, W&B offline without a key
  python {script} --data kaggle_3m --trials 40 --epochs 60 --workers 2
  python {script} --encoders resnet34,mit_b2 --set optimizer.adamw.weight_decay=0.05
  python {script} --try model.encoder.name=mobilenet_v2,model.encoder.weights=weights.pth
The same command again goes on where it was cut off. Not a medical device.
"""


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> None:
    """Run ``sweep`` as its script's command line asks; exit with status 2 for bad input."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = _sweep_parser(sweep).parse_args(words)
    _answer(lambda: _sweep(sweep, args, words))


def main(argv: Sequence[str] | None = None) -> None:
    """The `brainseg` command."""
    parser = argparse.ArgumentParser(
        prog="brainseg", description="Which encoder segments my brain MRI best?"
    )
    parser.add_argument("--version", action="version", version=f"brainseg {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    one = verbs.add_parser("train", help="train one configuration")
    _add_sweep_options(one, trials=1)
    phantom = verbs.add_parser("phantom", help="write made-up patients into a folder")
    phantom.add_argument("folder", type=Path)
    phantom.add_argument("--patients", type=int, default=24, help="default: 24")
    phantom.add_argument("--slices", type=int, default=16, help="of each patient; default: 16")
    phantom.add_argument("--size", type=int, default=128, help="pixels a side; default: 128")
    phantom.add_argument("--seed", type=int, default=0, help="default: 0")
    ranking = verbs.add_parser("report", help="show a run's ranking and write its report again")
    ranking.add_argument("run", type=Path, help="a sweep's folder, as runs/encoders")
    _add_check_options(verbs.add_parser("check", help="list all that is wrong with a data set"))
    _add_split_verb(verbs.add_parser("split", help="show who would be held out, and write it"))
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    verb = {
        "split": lambda: _split(args),
        "check": lambda: _check(args),
        "train": lambda: _sweep(_single(), args, words),
        "phantom": lambda: _phantom(args),
        "report": lambda: _report(Run(args.run)),
    }
    _answer(verb[args.verb])


def _answer(work: Callable[[], None]) -> None:
    """Do it; what a person got wrong is one sentence and status 2, not a traceback."""
    try:
        work()
    except ValueError as error:
        print(f"brainseg: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("brainseg: interrupted; the same command again goes on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _sweep(sweep: Sweep, args: argparse.Namespace, words: list[str]) -> None:
    from brainseg.launch import Job, run_sweep
    from brainseg.tracking import default_mode

    made_up = args.data is None
    job = Job(
        data=str(_made_up_patients()) if made_up else args.data,
        storage=args.storage.expanduser(),
        layout=args.layout,
        workers=args.workers,
        gpus=args.gpus,
        wandb=args.wandb or default_mode(),
        address=args.address,
        made_up=made_up,
        command=shlex.join([sys.argv[0], *words]),
    )
    asked = _as_asked(_rehearsal(sweep) if made_up else sweep, args)
    done = run_sweep(asked, job)
    _report(done)
    if done.count_ended() < asked.strategy.trials:
        raise KeyboardInterrupt  # Tune ends in good order at the first Ctrl-C, and says no more


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


def _as_asked(sweep: Sweep, args: argparse.Namespace) -> Sweep:
    """``sweep`` with the command line's wishes."""
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
        split=_asked_split(args),
    )


def _asked_split(args: argparse.Namespace) -> Split:
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


def _single() -> Sweep:
    """A sweep of one trial: a configuration run by hand."""
    return Sweep(
        name="train",
        question="How well does this one configuration segment?",
        space=Space(TrialConfig(), search=()),
        strategy=Bayes(trials=1),
    )


def _made_up_patients() -> Path:
    """Phantoms in the cache, written at the first call."""
    from brainseg.pack import default_cache
    from brainseg.phantom import write_phantoms

    print("no --data: made-up patients are used, to rehearse; they tell nothing about real ones")
    return write_phantoms(default_cache() / "phantoms", patients=24, slices=16, size=128, seed=0)


def _phantom(args: argparse.Namespace) -> None:
    from brainseg.phantom import write_phantoms

    root = write_phantoms(
        args.folder, patients=args.patients, slices=args.slices, size=args.size, seed=args.seed
    )
    print(f"{args.patients} made-up patients in {root}")


def _check(args: argparse.Namespace) -> None:
    """Status 1 if anything is wrong."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged file is told once, by us
    from rich.console import Console
    from rich.progress import track

    from brainseg import data_report
    from brainseg.check import check

    picture = args.html or args.png
    if picture and not picture.expanduser().parent.is_dir():
        raise ValueError(f"a picture must go into a folder that is there, got {picture}; make it")
    errors = Console(stderr=True)
    bar = partial(
        track, description="reading", console=errors, transient=True, disable=not errors.is_terminal
    )
    found = check(_folder(args.data), args.layout, lambda looks, n: bar(looks, total=n))
    data_report.print_findings(found, Console())
    if picture:
        from brainseg import data_page  # brings matplotlib

        write = data_page.write_page if args.html else data_page.write_picture
        try:
            write(found, picture.expanduser())
        except OSError as error:
            why = error.strerror
            raise ValueError(f"{picture} cannot be written ({why}); name another file") from None
        print(picture)
    if found.problems:
        raise SystemExit(1)


def _folder(data: str) -> Path:
    """The data on this node, copied here first if they lie in a store."""
    if "://" not in data:
        return Path(data).expanduser()
    from brainseg.pack import default_cache
    from brainseg.remote import local_copy  # brings pyarrow

    return local_copy(data, default_cache())


def _split(args: argparse.Namespace) -> None:
    from rich.console import Console

    from brainseg import begin, split_report
    from brainseg.splits import split_table

    split = _asked_split(args)
    data = begin.read_data(args.data, args.layout, print)
    groups = begin.linked(data, print)
    parts = split_table(data.table, split, groups)
    if args.folds is not None:
        parts = split_report.in_folds(data.table, parts, args.folds, split.seed, groups)
    split_report.print_parts(data.table, parts, Console())
    if args.out:
        for path in split_report.write_parts(data.table, parts, args.out.expanduser()):
            print(path)


def _report(run: Run) -> None:
    from rich.console import Console

    from brainseg import page, report

    if not run.sweep.exists():
        raise ValueError(f"{run.path} is not a sweep's folder: it holds no sweep.json")
    report.write_results(run)
    page.write_report(run)
    report.print_ranking(run, Console())


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(
            f"a sweep's name is made of letters, digits, '.', '_' and '-', got {text!r}"
        )
    return text


def _sweep_parser(sweep: Sweep) -> argparse.ArgumentParser:
    script = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        description=sweep.question,
        epilog=EPILOG.format(script=script),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sweep_options(parser, trials=sweep.strategy.trials)
    return parser


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="folder of images and masks, or s3://bucket/folder")
    parser.add_argument(
        "--layout",
        default="auto",
        help="lgg, pairs, manifest, nnunet or nifti; default: found by looking",
    )
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument("--html", type=Path, help="write all of it, with pictures, to this page")
    picture.add_argument("--png", type=Path, help="write the pictures alone to this file")


def _add_split_verb(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="folder of images and masks, or an address as s3://...")
    parser.add_argument("--layout", default="auto", help="default: found by looking")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write it, for --split")
    parser.add_argument(
        "--folds",
        type=int,
        metavar="K",
        help="cut all but the test patients into K folds; FILE-0.csv validates with fold 0",
    )
    _add_split_options(parser)


def _add_split_options(group: argparse._ActionsContainer) -> None:
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


def _add_sweep_options(parser: argparse.ArgumentParser, *, trials: int) -> None:
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
    _add_split_options(data)
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
