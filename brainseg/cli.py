"""The verbs: what a sweep script's command line and the `brainseg` command do."""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from brainseg import __version__, page, report
from brainseg.config import TrialConfig
from brainseg.encoders import require_known
from brainseg.launch import Job, run_sweep
from brainseg.pack import default_cache
from brainseg.phantom import write_phantoms
from brainseg.records import Run
from brainseg.space import Choice, Params, Space, Value, parse
from brainseg.sweep import Bayes, Split, Sweep
from brainseg.tracking import default_mode

# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL: Params = {"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16}
REHEARSAL_TRIALS = 8
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
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    verb = {
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
    made_up = args.data is None
    data = _made_up_patients() if made_up else args.data.expanduser()
    job = Job(
        data=data,
        storage=args.storage.expanduser(),
        workers=args.workers,
        gpus=args.gpus,
        wandb=args.wandb or default_mode(),
        address=args.address,
        made_up=made_up,
        command=shlex.join([sys.argv[0], *words]),
    )
    asked = _as_asked(sweep, args, rehearsal=made_up)
    done = run_sweep(asked, job)
    _report(done)
    if done.count_ended() < asked.strategy.trials:
        raise KeyboardInterrupt  # Tune ends in good order at the first Ctrl-C, and says no more


def _as_asked(sweep: Sweep, args: argparse.Namespace, *, rehearsal: bool) -> Sweep:
    """``sweep`` with the command line's wishes; a rehearsal's sizes give way to these."""
    fixed = dict(REHEARSAL) if rehearsal else {}
    named = {"epochs": args.epochs, "image_size": args.image_size, "seed": args.seed}
    named["model.encoder.weights"] = args.weights
    fixed |= {path: value for path, value in named.items() if value is not None}
    fixed = _resolved(fixed | dict(parse(TrialConfig, word) for word in args.set))
    narrow = dict(sweep.space.narrow)
    if args.encoders:
        for name in args.encoders:
            require_known(name)
        narrow["model.encoder.name"] = Choice(*args.encoders)
    space = Space(sweep.space.base, sweep.space.search, narrow, {**sweep.space.fixed, **fixed})
    tries = [
        _resolved(dict(parse(TrialConfig, part) for part in word.split(","))) for word in args.trial
    ]
    first = [point for point in sweep.first if _reachable(space, point)]
    trials = REHEARSAL_TRIALS if rehearsal else sweep.strategy.trials
    trials = trials if args.trials is None else args.trials
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
        split=Split(by=args.split, validation=args.validation, test=args.test),
    )


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
    print("no --data: made-up patients are used, to rehearse; they tell nothing about real ones")
    return write_phantoms(default_cache() / "phantoms", patients=24, slices=16, size=128, seed=0)


def _phantom(args: argparse.Namespace) -> None:
    root = write_phantoms(
        args.folder, patients=args.patients, slices=args.slices, size=args.size, seed=args.seed
    )
    print(f"{args.patients} made-up patients in {root}")


def _report(run: Run) -> None:
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


def _add_sweep_options(parser: argparse.ArgumentParser, *, trials: int) -> None:
    base = TrialConfig()
    data = parser.add_argument_group("data and results")
    data.add_argument(
        "--data", type=Path, help="folder of PATIENT/PATIENT_n.tif and PATIENT_n_mask.tif"
    )
    data.add_argument("--storage", type=Path, default=Path("runs"), help="default: runs")
    data.add_argument("--name", help="folder in the storage; default: the sweep's own name")
    data.add_argument(
        "--split",
        choices=("patients", "slices"),
        default="patients",
        help="slices is the report's, and leaks; default: patients",
    )
    data.add_argument("--validation", type=float, default=0.2, help="share; default: 0.2")
    data.add_argument("--test", type=float, default=0.1, help="share locked away; default: 0.1")
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
