"""Groups of options that several commands take: the layout, the split, and the machines."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options.parser import label, number, one_of, whole_number
from brainseg.cli.options.resume import ResumeOptions
from brainseg.config.sweep import Split
from brainseg.data.address import local_path

if TYPE_CHECKING:
    from brainseg.launch.job import Job
    from brainseg.tracking.account import Mode

DATA = "folder of images and masks, or an address such as s3://bucket/folder"


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where, and with what, trials run; nothing here changes what they find."""

    workers: int = 1
    gpus_per_worker: float | None = None  # None: one where there are GPUs
    concurrent: int | None = None  # None: as many trials as fit
    address: str | None = None  # None: $RAY_ADDRESS, else this machine
    wait_minutes: float = 30.0
    offline: bool = False
    wandb: "Mode | None" = None  # None: online where W&B finds a key

    def job(
        self,
        *,
        data: str,
        storage: Path,
        layout: str,
        label: str,
        made_up: bool,
        command: str,
        resume: ResumeOptions,
        earlier: Path | None = None,
    ) -> "Job":
        """A job in this place."""
        from brainseg.launch.job import Job
        from brainseg.tracking.account import default_mode

        return Job(
            data=data,
            storage=storage,
            layout=layout,
            label=label,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
            concurrent=self.concurrent,
            wait_minutes=self.wait_minutes,
            retry_failed=resume.retry_failed,
            stall_minutes=resume.stall_minutes,
            checkpoint_every=resume.checkpoint_every,
            earlier=earlier,
            wandb=self.wandb or default_mode(),
            address=self.address,
            made_up=made_up,
            command=command,
        )


def add_layout_options(group: argparse._ActionsContainer) -> None:
    """How a folder of data is read."""
    group.add_argument(
        "--layout",
        default="auto",
        help="lgg, pairs, manifest, nnunet or nifti (default: detected)",
    )
    group.add_argument(
        "--label",
        type=label,
        metavar="whole|1|1+4|...",
        help="what counts as tumour where masks hold several labels: all of them, or these numbers "
        "(default: masks hold nothing but tumour)",
    )


def add_split_options(group: argparse._ActionsContainer, usual: Split) -> None:
    """Options of a split; ``usual`` gives their defaults."""
    group.set_defaults(usual_split=usual)
    group.add_argument(
        "--split",
        default=usual.by,
        metavar="patients|slices|FILE.csv",
        help="patients: all slices of a patient on one side; slices: as the report did, which "
        "leaks; or a file with the columns patient,split or patient,slice,split (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--validation",
        type=number,
        metavar="SHARE",
        help=f"share that scores the trials (default: {usual.validation})",
    )
    group.add_argument(
        "--test",
        type=number,
        metavar="SHARE",
        help="share that is locked: no trial sees it, so that it can test the answer at the end. A "
        "comparison of the others alone has intervals wider by sqrt(n / (n - locked)) - 1, by 5 %% "
        f"where a tenth is locked (default: {usual.test:g})",
    )
    group.add_argument(
        "--split-seed",
        type=whole_number,
        metavar="N",
        help=f"another seed draws another split (default: {usual.seed})",
    )


def split_from_args(args: argparse.Namespace) -> Split:
    """The split; a file by its whole path, as records keep it.

    Raises:
        ValueError: a split that cannot be, or an option that has no effect on it.
    """
    is_file, usual, folds = args.split.lower().endswith(".csv"), args.usual_split, 0
    if "folds" in args:
        folds = args.folds
    for option, given, ruled_out, why in (
        ("--validation", args.validation, is_file, "the file says who validates"),
        ("--validation", args.validation, folds, "each of the folds validates in turn"),
        ("--test", args.test, is_file, "the file says who is locked"),
        ("--split-seed", args.split_seed, is_file and not folds, "the file is the split"),
    ):
        if given is not None and ruled_out:
            raise ValueError(f"{option} has no effect: {why}; leave it out")
    return Split(
        by=str(local_path(args.split).resolve()) if is_file else args.split,
        validation=usual.validation if args.validation is None else args.validation,
        test=usual.test if args.test is None else args.test,
        seed=usual.seed if args.split_seed is None else args.split_seed,
        folds=folds,
    )


def add_place_options(group: argparse._ActionsContainer) -> None:
    usual = PlaceOptions()
    group.add_argument(
        "--workers",
        type=whole_number,
        default=usual.workers,
        metavar="N",
        help="processes that train one trial together, with DDP (default: %(default)s)",
    )
    group.add_argument(
        "--gpus-per-worker",
        type=number,
        metavar="G",
        help="0.5 lets two trials share a GPU (default: 1 where there are GPUs)",
    )
    group.add_argument(
        "--concurrent",
        type=whole_number,
        metavar="N",
        help="trials at once, which an autoscaler makes room for (default: as many as fit)",
    )
    group.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        help="join a running Ray cluster (default: $RAY_ADDRESS, else a Ray of this sweep's own)",
    )
    group.add_argument(
        "--wait",
        type=number,
        default=usual.wait_minutes,
        metavar="MINUTES",
        help="on a cluster that is full, wait so long for room, then end and report what is "
        "missing (default: 30)",
    )
    group.add_argument(
        "--offline",
        action="store_true",
        help="download nothing; fetch weights before, with `brainseg weights fetch`",
    )
    group.add_argument(
        "--wandb",
        type=one_of("online", "offline", "off"),
        metavar="online|offline|off",
        help="record in W&B as well (default: online where it finds a key, else offline)",
    )


def place_from_args(args: argparse.Namespace) -> PlaceOptions:
    return PlaceOptions(
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        concurrent=args.concurrent,
        address=args.address,
        wait_minutes=args.wait,
        offline=args.offline,
        wandb=args.wandb,
    )
