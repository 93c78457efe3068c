"""The command lines: of a sweep's script, and of `brainseg`."""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from brainseg.cli import (
    compare,
    confirm,
    data,
    doctor,
    encoders,
    lr_range,
    plan,
    report,
    train,
    wandb_sync,
    weights,
)
from brainseg.cli.options.parser import Parser, parsed
from brainseg.cli.options.sweep import add_sweep_options, sweep_options
from brainseg.cli.runs import NoScore
from brainseg.cli.wandb_sync import NotUploaded
from brainseg.config.sweep import Sweep
from brainseg.process import restored
from brainseg.records.storage import StorageFault

# Each command imports what it needs by itself: Ray, PyTorch and matplotlib take 8 CPU-seconds,
# which `brainseg check` and `--help` do without.
COMMANDS = (
    *(data, doctor, encoders, weights, lr_range, plan),
    *(train, report, confirm, compare, wandb_sync),
)
BAD_INPUT = 2  # exit statuses; `brainseg check` ends with 1 where it finds problems
NO_SCORE = 3  # a sweep ended, and none of its trials has a score
MACHINE_FAULT = 4  # a storage, Ray or W&B failed in the middle: the same command resumes
INTERRUPTED = 130  # as shells have it for Ctrl-C

STUDY = """\
a study, from data to answer:
  brainseg check kaggle_3m                             is the data set sound?
  brainseg plan sweeps/encoders.py --data kaggle_3m    hours, memory, disk
  python sweeps/encoders.py --data kaggle_3m           search
  brainseg confirm runs/encoders                       train the best again
  brainseg compare runs/encoders-confirm               which is best?

`brainseg COMMAND --help` lists a command's options. Not a medical device.
"""
EXAMPLES = """\
examples:
  python {script} --smoke
  python {script} --data kaggle_3m
  python {script} --data kaggle_3m --epochs 60 --workers 2
  python {script} --data kaggle_3m --set batch_size=32
The first only shows that it runs, and needs no data; the second uses all defaults.
Run the same command again to resume. Not a medical device.
"""


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> None:
    """Run ``sweep`` as its script's command line says; exit with status 2 for bad input."""
    parser = Parser(
        usage="%(prog)s [options]",
        description=sweep.question,
        epilog=EXAMPLES.format(script=sys.argv[0]),
    )
    add_sweep_options(parser, sweep)
    args = parsed(parser, argv)
    _answer(lambda: train.run_with(sweep, sweep_options(args)))


def main(argv: Sequence[str] | None = None) -> None:
    """The `brainseg` command."""
    parser = Parser(
        prog="brainseg", description="Which encoder segments my brain MRI best?", epilog=STUDY
    )
    parser.add_argument("--version", action="version", version=f"brainseg {version('brainseg')}")
    commands = parser.add_subparsers(
        dest="which", required=True, metavar="COMMAND", title="commands"
    )
    for module in COMMANDS:
        module.add_command(commands)
    args = parsed(parser, argv)
    _answer(lambda: args.work(args))


def _answer(work: Callable[[], None]) -> None:
    """Do the work; a wrong input ends it with one sentence and status 2, not a traceback.

    The process is left as it was, so that a notebook may do it again.
    """
    try:
        with restored():
            work()
    except ValueError as error:
        print(f"brainseg: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except NoScore as error:
        print(f"brainseg: {error}", file=sys.stderr)
        raise SystemExit(NO_SCORE) from None
    except (StorageFault, NotUploaded) as fault:
        print(f"brainseg: {fault}", file=sys.stderr)
        raise SystemExit(MACHINE_FAULT) from None
    except KeyboardInterrupt:
        print("brainseg: interrupted; run the same command again to resume", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
