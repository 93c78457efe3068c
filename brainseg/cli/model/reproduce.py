"""Train a trial once more from its record, and compare: `reproduce`."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.runs import existing_run
from brainseg.data.address import local_path
from brainseg.process import terminable

if TYPE_CHECKING:
    from brainseg.inference.reproduce.record import Record
    from brainseg.inference.reproduce.verdict import Verdict

DIFFERENT = 1  # exit status

EPILOG = """\
exit status: 0 it matches, 1 it does not, 2 it cannot be tried or compared
On the same kind of processor, with the same versions, code and threads, every number must be the
same. Elsewhere it must agree within a tolerance that is printed.
"""


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "reproduce",
        help="train a trial again from its record",
        description="Train one trial of a run once more, from its record and in this process, to "
        "the epoch that it reached; then compare its losses, its scores and its table of patients "
        "with those that were recorded, and name what differs from then.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="its folder, such as runs/encoders")
    parser.add_argument("trial", metavar="TRIAL", help="its name, such as 0007")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each worker (default: as many as were recorded)",
    )
    parser.add_argument(
        "--data",
        default="",
        metavar="FOLDER",
        help="where the run's data lie now (default: where they were)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="train in this folder and leave it; the same command resumes there "
        "(default: a temporary folder)",
    )
    parser.set_defaults(
        work=lambda args: _reproduce(
            args.run, args.trial, threads=args.threads, data=args.data, keep=args.keep
        )
    )


@terminable()
def _reproduce(
    folder: Path, trial: str, *, threads: int | None, data: str, keep: Path | None
) -> None:
    from brainseg.inference.reproduce.record import Record
    from brainseg.inference.reproduce.retrain import require_same_data

    if threads is not None and threads < 1:
        raise ValueError(f"--threads must be at least 1, got {threads}")
    record = Record.of(existing_run(folder), trial)
    kept = _kept(record, keep)
    require_same_data(record, data)
    if kept:
        verdict = _compared(record, kept, threads, data)
    else:
        with TemporaryDirectory(prefix="brainseg-") as temporary:
            verdict = _compared(record, Path(temporary), threads, data)
    print(*verdict.lines, sep="\n")
    if not verdict.matches:
        raise SystemExit(DIFFERENT)


def _kept(record: "Record", keep: Path | None) -> Path | None:
    """The folder to train in and leave; ValueError if it holds anything else."""
    from brainseg.inference.reproduce.retrain import is_copy

    if keep is None:
        return None
    keep = local_path(keep)
    if not keep.parent.is_dir():
        raise ValueError(
            f"--keep must name a folder in one that exists, got {keep}; make {keep.parent} first"
        )
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())) and not is_copy(record, keep):
        raise ValueError(
            f"--keep must name a new or empty folder, or one of the same trial, {keep} holds other "
            "files; name another"
        )
    return keep


def _compared(record: "Record", folder: Path, threads: int | None, data: str) -> "Verdict":
    import torch

    from brainseg.config.hyperparameters import configuration_name
    from brainseg.inference.reproduce.facts import facts
    from brainseg.inference.reproduce.retrain import device_for, retrain
    from brainseg.inference.reproduce.verdict import compare

    device = device_for(record)
    setup = record.stages()[-1].setup
    count = threads or setup.threads
    plural = "s" * (setup.workers > 1)
    print(
        f"{record.run.path.name} {record.trial}: {configuration_name(record.config)}, "
        f"{len(record.rows)} of {record.config.epochs} epochs, {setup.workers} worker{plural}, "
        f"{count} thread{'s' * (count > 1)}, on a {'GPU' if device.type == 'cuda' else 'CPU'}"
    )
    copy = retrain(record, folder, device, threads=threads, data=data, log=print)
    torch.set_num_threads(count)
    return compare(record, copy, facts(record, copy, device, threads))
