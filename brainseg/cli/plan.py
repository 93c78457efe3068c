"""What a sweep will take, before it is launched: `plan`."""

import argparse
import runpy
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.console import require_folder, terminal, writing
from brainseg.cli.options.parser import Commands, Parser, whole_number
from brainseg.cli.options.resolve import job_from_options, sweep_from_options
from brainseg.cli.options.sweep import SweepOptions, add_sweep_options, sweep_options
from brainseg.config.sweep import Points, Sweep

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg.planning.forecast import ConfigurationCost, Plan, Range

USAGE = "brainseg plan SCRIPT [--measure N] [--json FILE] [options of SCRIPT]"
NOTE = (
    "Measured: a few steps of one worker, alone on a machine, after a warm-up; trials that share "
    "memory are slower. Estimated: a line through the measured ones gives time from FLOPs, and "
    "memory from weights and activations. The totals allow for the error of these estimates; "
    "--measure N makes it smaller."
)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How a sweep's cost is estimated, and which options the sweep would be run with."""

    measure: int
    json: Path | None
    sweep: SweepOptions


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "plan",
        help="estimate what a sweep will take: hours, memory, disk",
        usage=USAGE,
        description="Measure a few steps of a sweep's smallest and largest models, and estimate "
        "the rest. Nothing is trained, downloaded or kept.",
        epilog="`brainseg plan SCRIPT --help` lists all options: --measure, --json and those of "
        "SCRIPT.",
    )
    parser.add_argument(
        "script", type=Path, metavar="SCRIPT", help="a sweep, such as sweeps/encoders.py"
    )
    parser.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(work=_read_and_plan)


def _read_and_plan(args: argparse.Namespace) -> None:
    sweep = read_sweep(args.script)
    inner = _script_parser(sweep).parse_args(args.options)
    inner.command = args.command
    _plan(sweep, _options(inner))


def _options(args: argparse.Namespace) -> PlanOptions:
    if args.measure < 1:
        raise ValueError(f"--measure must be at least 1, got {args.measure}")
    return PlanOptions(
        measure=args.measure,
        json=require_folder("--json", args.json),
        sweep=sweep_options(args),
    )


def _plan(sweep: Sweep, options: PlanOptions) -> None:
    asked, job = sweep_from_options(sweep, options.sweep), job_from_options(options.sweep)
    from rich.text import Text

    from brainseg.planning.plan import plan
    from brainseg.records.files import write_json

    def log(text: str) -> None:
        print(text, file=sys.stderr)

    estimate = plan(asked, job, measure=options.measure, log=log)
    console = terminal()
    console.print(_table(estimate))
    for line in lines(estimate, asked):
        console.print(Text(line))
    console.print(Text(NOTE, style="dim"))
    if options.json:
        with writing(options.json):
            write_json(options.json, asdict(estimate))


def read_sweep(script: Path) -> Sweep:
    """The ``sweep`` of a script, which is not run.

    Raises:
        ValueError: it is not a script that holds one.
    """
    if not script.is_file():
        raise ValueError(
            f"SCRIPT must be a sweep such as sweeps/encoders.py, there is no file {script}; "
            "correct its path"
        )
    try:
        sweep = runpy.run_path(str(script), run_name="brainseg.planning.plan").get("sweep")
    except Exception as error:  # whatever a script may raise
        raise ValueError(
            f"{script} must be a sweep's script, but reading it raised {type(error).__name__} "
            f"({error})"
        ) from None
    if not isinstance(sweep, Sweep):
        raise ValueError(f"{script} must be a sweep's script, but it sets no `sweep = Sweep(...)`")
    return sweep


def lines(plan: "Plan", sweep: Sweep) -> list[str]:
    """The totals in words, a line each."""
    from brainseg.analysis.cost_summary import unit_of

    placement = plan.placement
    device = "a GPU" if placement.gpus else f"a worker on {placement.cpus} CPU(s)"
    seconds, unit = unit_of(plan.device_seconds.high)
    wall, clock = unit_of(plan.seconds.high)
    stopping = (
        "none stopped early"
        if isinstance(sweep.strategy, Points)
        else "low: trials stopped early as halving does on average; high: none stopped"
    )
    shapes = {(cost.batch_size, cost.image_size): None for cost in plan.configurations}
    steps = " or ".join(f"{images} images of {side} pixels" for images, side in shapes)
    sentences = [
        f"A step: {steps}",
        f"{plan.trials} trial(s), {_between(plan.epochs, 1, '.0f')} epochs ({stopping})",
        f"{_between(plan.device_seconds, seconds, '.3g')} {unit} (a device: {device})",
        f"{_between(plan.seconds, wall, '.3g')} {clock.removeprefix('device-')} by the clock, "
        f"{placement.concurrent} trial(s) at once of {placement.workers} worker(s) each",
        f"{plan.disk_bytes / 1e9:.2f} GB of disk for checkpoints at most",
    ]
    if limit := _limit(plan, sweep):
        sentences.append(limit)
    if failing := [cost for cost in plan.configurations if cost.obstacle]:
        sentences += [f"does not fit: {cost.name}: {cost.obstacle}" for cost in failing]
    return sentences


def _limit(plan: "Plan", sweep: Sweep) -> str:
    """Which limit of the budget would end the sweep early, if any."""
    budget = sweep.budget
    if plan.seconds.high >= 3600 * budget.hours:
        return f"the budget of {budget.hours:g} hours may end the sweep before its last trial"
    if plan.device_seconds.high >= 3600 * budget.device_hours:
        return (
            f"the budget of {budget.device_hours:g} device-hours may end the sweep before its "
            "last trial"
        )
    return ""


def _table(plan: "Plan") -> "Table":
    from rich.text import Text

    from brainseg.report.columns import plain_table

    columns = ("Model", "s / step", "s / epoch", "Start, s", "Memory", "")
    table = plain_table(columns, left=("Model", ""), wrap=("Model",))
    shapes = {(cost.batch_size, cost.image_size) for cost in plan.configurations}
    for cost in plan.configurations:
        shape = f", {cost.batch_size} x {cost.image_size} px" * (len(shapes) > 1)
        cells = (cost.name + shape, *_cells(cost))
        table.add_row(*map(Text, cells), style="red" if cost.obstacle else None)
    return table


def _cells(cost: "ConfigurationCost") -> tuple[str, ...]:
    if not cost.epoch_seconds:
        return "", "", "", "", "does not fit"
    word = "measured" if cost.measured else "estimated"
    return (
        f"{cost.step_seconds:.3g}",
        f"{cost.epoch_seconds:.3g}",
        f"{cost.start_seconds:.2g}",
        f"{cost.peak_bytes / 1e9:.2f} GB",
        f"{word}, does not fit" if cost.obstacle else word,
    )


def _between(span: "Range", unit: float, form: str) -> str:
    low, high = f"{span.low / unit:{form}}", f"{span.high / unit:{form}}"
    return low if low == high else f"{low} to {high}"


def _script_parser(sweep: Sweep) -> Parser:
    parser = Parser(usage=USAGE, description=f"Estimate what this takes: {sweep.question}")
    parser.add_argument(
        "--measure",
        type=whole_number,
        default=2,
        metavar="N",
        help="models that are measured, evenly spread from the least to the most work (default: "
        "%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the plan to a file")
    add_sweep_options(parser, sweep)
    return parser
