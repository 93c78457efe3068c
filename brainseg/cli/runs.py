"""What commands that run a sweep, or read a run, have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import terminal
from brainseg.config.sweep import Sweep
from brainseg.data.address import is_address, local_path
from brainseg.process import environment, terminable
from brainseg.records.files import Unreadable
from brainseg.records.queries import failures, has_score
from brainseg.records.run import LIST, Run
from brainseg.records.storage import storage_faults

if TYPE_CHECKING:
    from brainseg.launch.job import Job

NOT_ALL = 1  # exit status: it is done, but for what cannot be read, which is named


class NoScore(Exception):
    """A sweep ended, and none of its trials has a score."""


@contextmanager
def offline_if(offline: bool) -> Iterator[None]:
    """If ``offline``, nothing is downloaded in the block, nor by processes started in it."""
    if not offline:
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
    """Run ``sweep`` or resume it, then write and show its report; the last line says what failed.

    Raises:
        NoScore: the sweep has ended, and no trial has a score.
        KeyboardInterrupt: it was interrupted, and ended in good order.
    """
    from brainseg.launch.job import Ended
    from brainseg.launch.run import run_sweep

    try:
        done = run_sweep(sweep, job)
    except Ended as ended:
        report(ended.run)
        raise
    report(done)
    if not done.is_whole():
        raise KeyboardInterrupt  # the sweep ended in good order at a first signal
    records = done.trials()
    failed = failures(records)
    remedy = f"{failed}; --retry-failed tries them again" if failed else ""
    if sweep.refits and failed:
        raise NoScore(f"nothing was refitted: {remedy}")
    if not (sweep.refits or has_score(records)):
        raise NoScore(f"no trial has a score: {remedy or 'none finished an epoch'}")
    if remedy:
        print(remedy)


def existing_run(folder: Path) -> Run:
    """The run in a folder; ValueError if it holds none."""
    run = Run(local_path(folder))
    if not run.sweep.exists():
        raise ValueError(
            f"RUN must be a sweep's folder, {run.path} holds no sweep.json; name one such as "
            "runs/encoders"
        )
    if run.trained() and not (run.changes.is_file() and run.changes.stat().st_size):
        raise Unreadable(run.changes, "it does not list the trials that there are", LIST)
    return run


def data_of(run: Run, moved_to: str | None) -> str:
    """Where the data of a run are that another one trains on again.

    Raises:
        ValueError: they are not there.
    """
    root = str(moved_to or run.settings()["data"]["root"])
    if not is_address(root) and not local_path(root).is_dir():
        raise ValueError(
            f"the data of {run.path} must be there to train on them again, {root} is no folder; "
            "name their new place with --data"
        )
    return root


def report(run: Run) -> None:
    """Write results.csv, claims.csv and report.html; show the ranking and the verdicts."""
    from brainseg.report import claims, page, results
    from brainseg.report import terminal as ranking

    answers, console = results.Results.load(run), terminal()
    with storage_faults(run.path):
        results.write_results(answers)
        claims.write_claims(answers)
        page.write_report(answers)
    ranking.print_ranking(answers, console)
    claims.print_verdicts(answers, console)
