"""Upload to W&B what it lacks of a run: `wandb sync`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.runs import existing_run
from brainseg.records.locks import Held, locked
from brainseg.records.run import Run

if TYPE_CHECKING:
    from brainseg.tracking.marks import Mark
    from brainseg.tracking.sync import Upload


class NotUploaded(Exception):
    """W&B could not be reached, or broke off; the same command continues."""


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "wandb",
        help="upload to W&B what it lacks of a run",
        description="Upload to W&B what it lacks of a run: one W&B run per trial, each epoch once.",
    )
    actions = parser.add_subparsers(dest="what", required=True, metavar="sync", title="commands")
    sync = actions.add_parser(
        "sync",
        help="upload what is missing",
        description="Upload what W&B lacks of a run, from the run's records: runs that were "
        "written offline, and whatever W&B missed while it was down. W&B is asked what it has, so "
        "that nothing is sent twice; interrupted, the same command continues. A sweep that is "
        "still running must end first. Key and server are those of `wandb login`, or of "
        "WANDB_API_KEY and WANDB_BASE_URL.",
    )
    sync.add_argument(
        "run", type=Path, metavar="RUN", help="a sweep's folder, such as runs/encoders"
    )
    sync.set_defaults(work=lambda args: _sync(existing_run(args.run)))


def _sync(run: Run) -> None:
    from brainseg.tracking.sync import Upload

    with _not_in_use(run):
        upload = Upload.of(run)
        number = len(upload.trials)
        if not number:
            print(f"nothing to upload: {upload.server} has all of {run.path}")
            return
        trials = "trial" if number == 1 else "trials"
        print(f"uploading {number} {trials} of {run.path} to {upload.server}", flush=True)
        marks = _carried_out(upload)
        whole = "all that it takes" if any(mark.gaps for mark in marks) else "all"
        print(f"W&B has {whole} of {run.path}: {marks[0].url.partition('/runs/')[0]}")


def _carried_out(upload: "Upload") -> "list[Mark]":
    """Upload, a line for each trial; returns what W&B then holds."""
    from brainseg.tracking.sender_process import SendError

    marks: list[Mark] = []
    failed: list[SendError] = []
    number = len(upload.trials)
    for count, (trial, mark) in enumerate(upload.carry_out(), start=1):
        if isinstance(mark, SendError):
            failed.append(mark)
            print(f"[{count}/{number}] trial {trial}: not uploaded", flush=True)
            continue
        marks.append(mark)
        epochs = "1 epoch" if mark.epoch == 1 else f"{mark.epoch} epochs"
        print(f"[{count}/{number}] trial {trial}: {epochs}  {mark.url}", flush=True)
        if mark.gaps:
            print(
                f"trial {trial}: W&B lacks {mark.gaps} of these, left out by an earlier version; "
                "it takes none before the last one that it has"
            )
    if not failed:
        return marks
    stands = f"{failed[-1]}; {len(marks)} of {number} trials are uploaded"
    if failed[-1].refused:
        raise ValueError(
            f"{stands}. Set WANDB_API_KEY to a key of {upload.server}, or run `wandb login`, then "
            "run the same command"
        )
    raise NotUploaded(f"{stands}. Once {upload.server} takes the rest, the same command continues")


@contextmanager
def _not_in_use(run: Run) -> Iterator[None]:
    """No sweep of the run begins or goes on meanwhile; on read-only storage none can."""
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(run.path / "lock", wait=False))
        except Held as held:
            raise ValueError(
                f"{run.path} is in use by {held.holder}, and a sweep uploads by itself; run this "
                "again when it has ended"
            ) from None
        except OSError:
            pass  # read-only
        yield
