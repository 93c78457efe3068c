"""The command lines: of a sweep's script, and of `brainseg`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from brainseg.cli import compare, confirm, data, doctor, encoders, lr_range, plan, weights
from brainseg.cli import sweep as sweep_command
from brainseg.cli.options import add_sweep_options
from brainseg.config.sweep import Sweep
from brainseg.process import kept

# Each verb imports what it needs by itself: Ray, PyTorch and matplotlib take 8 CPU-seconds, which
# `brainseg check` and `--help` do without.
VERBS = (
    plan,
    sweep_command,
    confirm,
    compare,
    data,
    encoders,
    lr_range,
    weights,
    doctor,
)
INTERRUPTED = 130  # exit status, as shells have it for Ctrl-C

EPILOG = """\
examples:
  python {script} --smoke                                does it run? two epochs, nothing needed
  python {script} --data kaggle_3m                       all defaults, W&B offline without a key
  python {script} --data kaggle_3m --trials 40 --epochs 60 --workers 2
  python {script} --data kaggle_3m --set optimizer.adamw.weight_decay=0.05
  python {script} --try model.encoder.name=mobilenet_v2,model.encoder.weights=weights.pth
The same command again goes on where it was cut off. Not a medical device.
"""


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> None:
    """Run ``sweep`` as its script's command line asks; exit with status 2 for bad input."""
    parser = _sweep_parser(sweep)
    args = _parsed(parser, argv)
    _answer(lambda: sweep_command.run_asked(sweep, args))


def main(argv: Sequence[str] | None = None) -> None:
    """The `brainseg` command."""
    parser = argparse.ArgumentParser(
        prog="brainseg", description="Which encoder segments my brain MRI best?"
    )
    parser.add_argument("--version", action="version", version=f"brainseg {version('brainseg')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in VERBS:
        module.add_verbs(verbs)
    args = _parsed(parser, argv)
    _answer(lambda: args.work(args))


def _parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, and beside them the command as it was typed."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(words)
    args.command = shlex.join([sys.argv[0], *words])
    return args


def _answer(work: Callable[[], None]) -> None:
    """Do it; what a person got wrong is one sentence and status 2, not a traceback.

    The process is left as it was, so that a notebook may do it again.
    """
    try:
        with kept():
            work()
    except ValueError as error:
        print(f"brainseg: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("brainseg: interrupted; the same command again goes on", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _sweep_parser(sweep: Sweep) -> argparse.ArgumentParser:
    script = Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(
        description=sweep.question,
        epilog=EPILOG.format(script=script),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_sweep_options(parser, sweep)
    return parser
