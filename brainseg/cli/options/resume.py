"""The options of a command that runs or resumes a sweep: what it does with trials in trouble."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What a command does with trials that failed; nothing here changes what a sweep asks."""

    retry_failed: bool = False


def add_resume_options(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="try the run's failed trials again, each from its last checkpoint; those whose cause "
        "is gone (memory, weights, checkpoint) are tried again without it",
    )


def resume_from_args(args: argparse.Namespace) -> ResumeOptions:
    return ResumeOptions(retry_failed=args.retry_failed)
