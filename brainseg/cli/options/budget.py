"""The options of a sweep's budget: what is reached first ends it."""

import argparse
from dataclasses import dataclass

from brainseg.cli.options.parser import number, whole_number
from brainseg.config.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """What a command line sets of a budget; None leaves a limit as the sweep has it."""

    trials: int | None = None
    hours: float | None = None
    device_hours: float | None = None
    patience: int | None = None
    terminator: bool = False


def budget_from_args(args: argparse.Namespace) -> BudgetOptions:
    return BudgetOptions(
        trials=args.trials,
        hours=args.hours,
        device_hours=args.device_hours,
        patience=args.patience,
        terminator=args.terminator,
    )


def add_budget_options(group: argparse._ActionsContainer, sweep: Sweep) -> None:
    group.add_argument(
        "--trials",
        type=whole_number,
        metavar="N",
        help=f"end after N trials (default: {sweep.trials})",
    )
    group.add_argument(
        "--hours",
        type=number,
        metavar="H",
        help="end after H hours, counted over all commands that resumed the run",
    )
    group.add_argument(
        "--device-hours",
        type=number,
        metavar="H",
        help="end after H device-hours, summed over all trials",
    )
    group.add_argument(
        "--patience",
        type=whole_number,
        metavar="N",
        help="end after N trials in a row without a better Dice, beyond noise (search sweeps only)",
    )
    group.add_argument(
        "--terminator",
        action="store_true",
        help="end when Optuna's terminator expects less gain than noise; it needs 20 complete "
        "trials (search sweeps only)",
    )
