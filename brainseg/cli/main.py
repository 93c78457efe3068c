"""The command lines: of a sweep's script, and of `brainseg`."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper

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
from brainseg.cli.model import evaluate, export, predict, refit, reproduce
from brainseg.cli.options.parser import Parser, parsed
from brainseg.cli.options.sweep import add_sweep_options, sweep_options
from brainseg.cli.runs import NoScore
from brainseg.cli.wandb_sync import NotUploaded
from brainseg.config.sweep import Sweep
from brainseg.process import INTERRUPTED, plain, restored
from brainseg.records.storage import MachineFault, is_fault

# Each command imports what it needs by itself: Ray, PyTorch and matplotlib take 8 CPU-seconds,
# which `brainseg check` and `--help` do without.
COMMANDS = (
    *(data, doctor, encoders, weights, lr_range, plan),
    *(train, report, confirm, compare, wandb_sync),
    *(refit, evaluate, predict, export, reproduce),
)
# Exit statuses. 1 is done, with a fault that is named: `check` and `doctor` found problems,
# `predict` or `evaluate` left files out, `reproduce` found no match.
BAD_INPUT = 2
NO_SCORE = 3  # a sweep ended, and none of its trials has a score
MACHINE_FAULT = 4  # a storage, Ray or W&B failed in the middle: the same command resumes
PIPE_CLOSED = 141  # as shells have it for a program that SIGPIPE ended

STUDY = """\
a study, from data to answer:
  brainseg check kaggle_3m                               is the data set sound?
  brainseg plan sweeps/encoders.py --data kaggle_3m      hours, memory, disk
  python sweeps/encoders.py --data kaggle_3m --test 0.1  search; a tenth locked
  brainseg confirm runs/encoders                         train the best again
  brainseg compare runs/encoders-confirm                 which is best?
  brainseg refit runs/encoders-confirm                   train it on all others
  brainseg evaluate runs/encoders-confirm                score locked patients
  brainseg predict runs/encoders-confirm scans masks     images in, masks out

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
    _answer(lambda: train.run_with(sweep, sweep_options(parsed(parser, argv))))


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

    def work() -> None:
        args = parsed(parser, argv)
        args.work(args)

    _answer(work)


def _answer(work: Callable[[], None]) -> None:
    """Do the work; what a person or a machine did wrong is one sentence and a status, no traceback.

    The process is left as it was, so that a notebook may do it again.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that its encoding lacks is no error
            stream.reconfigure(errors="backslashreplace")
    try:
        with restored():
            work()
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(PIPE_CLOSED) from None
    except KeyboardInterrupt:
        print("brainseg: interrupted; run the same command again to resume", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if (ending := _ending(error)) is None:
            raise
        sentence, status = ending
        lines = "\n".join(map(plain, sentence.splitlines()))  # of code, in some
        print(f"brainseg: {lines}", file=sys.stderr)
        raise SystemExit(status) from None


def _ending(error: Exception) -> tuple[str, int] | None:
    """What to say of an error, and the exit status; None for one that only a bug can cause."""
    if isinstance(error, MachineFault | NotUploaded) and not isinstance(error, ValueError):
        return str(error), MACHINE_FAULT
    if isinstance(error, NoScore):
        return str(error), NO_SCORE
    if isinstance(error, ValueError):
        return str(error), BAD_INPUT
    if isinstance(error, MemoryError):
        return (
            "this machine has not enough memory (RAM) for it; end other programs, then run the "
            "same command again",
            MACHINE_FAULT,
        )
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return f"the system refused: {what}", MACHINE_FAULT if is_fault(error) else BAD_INPUT
    return None


def _drop_output() -> None:
    """Who reads standard output has gone: let the interpreter's last flush go nowhere."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
