"""Run a sweep, train one configuration, show a run's ranking: `train` and `report`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options import add_sweep_options
from brainseg.cli.sweep_args import as_asked, asked_job
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Sweep
from brainseg.process import environment, terminable
from brainseg.records.run import Run

if TYPE_CHECKING:
    from brainseg.launch.job import Job


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = verbs.add_parser("train", help="train one configuration")
    add_sweep_options(train, single())
    train.set_defaults(work=lambda args: run_asked(single(), args))
    ranking = verbs.add_parser("report", help="show a run's ranking and write its report again")
    ranking.add_argument("run", type=Path, help="a sweep's folder, as runs/encoders")
    ranking.set_defaults(work=lambda args: _report(begun(args.run)))


def run_asked(sweep: Sweep, args: argparse.Namespace) -> None:
    """Run ``sweep`` as the command line asks, then show and write its report."""
    with heeding_offline(args):
        run_and_report(as_asked(sweep, args), asked_job(args))


@contextmanager
def heeding_offline(args: argparse.Namespace) -> Iterator[None]:
    """With `--offline` nothing is downloaded in the block, nor by processes begun in it."""
    if not args.offline:
        yield
        return
    from huggingface_hub import constants  # which read the environment as they are imported

    before = constants.HF_HUB_OFFLINE
    with environment(HF_HUB_OFFLINE="1"):
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


@terminable()
def run_and_report(sweep: Sweep, job: "Job") -> None:
    """Run ``sweep`` or go on with it, then show and write its report."""
    from brainseg.launch.job import Ended
    from brainseg.launch.run import run_sweep

    try:
        done = run_sweep(sweep, job)
    except Ended as ended:
        _report(ended.run)
        raise
    _report(done)
    if not done.is_whole():
        raise KeyboardInterrupt  # Tune ends in good order at the first Ctrl-C, and says no more


def begun(folder: Path) -> Run:
    """The run in a folder; ValueError if it holds none."""
    run = Run(folder.expanduser())
    if not run.sweep.exists():
        raise ValueError(f"{run.path} is not a sweep's folder: it holds no sweep.json")
    return run


def single() -> Sweep:
    """A sweep of one trial: a configuration run by hand."""
    return Sweep(
        name="train",
        question="How well does this one configuration segment?",
        space=Space(TrialConfig(), search=()),
        strategy=Bayes(trials=1),
    )


def _report(run: Run) -> None:
    from rich.console import Console

    from brainseg.report import claims, page, results, terminal

    answers = results.Results.load(run)
    results.write_results(answers)
    claims.write_claims(answers)
    page.write_report(answers)
    terminal.print_ranking(answers, Console())
    claims.print_verdicts(answers, Console())
