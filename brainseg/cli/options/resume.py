"""The options of a command that runs or resumes a sweep: what it does for trials in trouble."""

import argparse
from dataclasses import dataclass

from brainseg.cli.options.parser import number


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What a command does for trials that fail or hang; nothing here changes what a sweep asks."""

    retry_failed: bool = False
    stall_minutes: float = 30.0
    checkpoint_every: float | None = None  # seconds; None: so seldom that it costs 2 % of them


def add_resume_options(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="try the run's failed trials again, each from its last checkpoint; those whose cause "
        "is gone (memory, weights, checkpoint) are tried again without it",
    )
    group.add_argument(
        "--stall-minutes",
        type=number,
        default=ResumeOptions.stall_minutes,
        metavar="MINUTES",
        help="end a trial that makes no progress for so long, and try it again from its last "
        "checkpoint; never sooner than 3 of its epochs; a start has 4 times longer; 0: never "
        "(default: 30)",
    )
    group.add_argument(
        "--checkpoint-every",
        type=number,
        metavar="SECONDS",
        help="save so often what a killed trial resumes from; 0: after each epoch (default: so "
        "seldom that it costs at most 2 %% of the training, at least every 5 minutes)",
    )


def resume_from_args(args: argparse.Namespace) -> ResumeOptions:
    return ResumeOptions(
        retry_failed=args.retry_failed,
        stall_minutes=args.stall_minutes,
        checkpoint_every=args.checkpoint_every,
    )
