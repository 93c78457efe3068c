"""What a sweep will take, before it is launched: `plan`."""

import argparse
import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options import add_sweep_options
from brainseg.cli.sweep_args import as_asked, asked_job
from brainseg.config.sweep import Points, Sweep

if TYPE_CHECKING:
    from rich.table import Table

    from brainseg.planning.forecast import Arm, Plan, Range

USAGE = "brainseg plan SCRIPT [--measure N] [--json FILE] [any option of the script]"
NOTE = (
    "Measured: a few steps of a worker, alone on a machine, after a warm-up; trials side by "
    "side are slower where they share memory. Reckoned: by the line through those measured, time "
    "over floating-point operations, memory over weights and activations; the totals allow for "
    "the error of that, and --measure N makes it smaller."
)


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    plan = verbs.add_parser(
        "plan",
        help="say what a sweep will take: hours, memory, disk",
        usage=USAGE,
        description="Measure a few steps of a sweep's smallest and largest arms, reckon the rest. "
        "Nothing is trained, downloaded or kept.",
        epilog="brainseg plan SCRIPT --help lists the options of the script",
    )
    plan.add_argument("script", type=Path, metavar="SCRIPT", help="as sweeps/encoders.py")
    plan.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    plan.set_defaults(work=_plan)


def _plan(outer: argparse.Namespace) -> None:
    sweep = read_sweep(outer.script)
    args = _parser(sweep).parse_args(outer.options)
    args.command = outer.command
    if args.measure < 1:
        raise ValueError(f"--measure takes 1 arm at the least, got {args.measure}")
    if args.json and not args.json.expanduser().parent.is_dir():
        raise ValueError(f"--json must go into a folder that is there, got {args.json}; make it")
    asked, job = as_asked(sweep, args), asked_job(args)
    from rich.console import Console
    from rich.text import Text

    from brainseg.planning.plan import plan
    from brainseg.records.files import write_json

    found = plan(asked, job, measure=args.measure, say=lambda text: print(text, file=sys.stderr))
    console = Console()
    console.print(_table(found))
    for line in lines(found, asked):
        console.print(Text(line))
    console.print(Text(NOTE, style="dim"))
    if args.json:
        write_json(args.json.expanduser(), asdict(found))


def read_sweep(script: Path) -> Sweep:
    """The ``sweep`` of a script, which is not run.

    Raises:
        ValueError: it is not a script that holds one.
    """
    if not script.is_file():
        raise ValueError(f"a sweep's script is a file as sweeps/encoders.py, there is no {script}")
    try:
        found = runpy.run_path(str(script), run_name="brainseg.planning.plan").get("sweep")
    except Exception as error:  # whatever a script may raise
        raise ValueError(
            f"{script} is no sweep's script: reading it raised {type(error).__name__} ({error})"
        ) from None
    if not isinstance(found, Sweep):
        raise ValueError(f"{script} is no sweep's script: it sets no `sweep = Sweep(...)`")
    return found


def lines(found: "Plan", sweep: Sweep) -> list[str]:
    """The totals in words, a line each."""
    from brainseg.analysis.cost_summary import unit_of

    placement = found.placement
    device = "a GPU" if placement.gpus else f"a worker on {placement.cpus} CPU(s)"
    seconds, unit = unit_of(found.device_seconds.high)
    wall, clock = unit_of(found.seconds.high)
    stopping = (
        "none stopped early"
        if isinstance(sweep.strategy, Points)
        else "low: stopped early as halving would in the mean; high: none stopped"
    )
    shapes = {(one.batch_size, one.image_size): None for one in found.arms}
    steps = " or ".join(f"{images} images of {side} pixels" for images, side in shapes)
    said = [
        f"A step: {steps}",
        f"{found.trials} trial(s), {_between(found.epochs, 1, '.0f')} epochs ({stopping})",
        f"{_between(found.device_seconds, seconds, '.3g')} {unit} (a device: {device})",
        f"{_between(found.seconds, wall, '.3g')} {clock.removeprefix('device-')} by the clock, "
        f"{placement.concurrent} trial(s) at once of {placement.workers} worker(s) each",
        f"{found.disk_bytes / 1e9:.2f} GB of disk for checkpoints at the most",
    ]
    if limit := _limit(found, sweep):
        said.append(limit)
    if failing := [one for one in found.arms if one.obstacle]:
        said += [f"does not fit: {one.name}: {one.obstacle}" for one in failing]
    return said


def _limit(found: "Plan", sweep: Sweep) -> str:
    """Which part of the budget the plan comes to, if it does."""
    budget = sweep.budget
    if found.seconds.high >= 3600 * budget.hours:
        return f"the budget of {budget.hours:g} hours may end it before all trials were tried"
    if found.device_seconds.high >= 3600 * budget.device_hours:
        return (
            f"the budget of {budget.device_hours:g} device-hours may end it before all trials "
            "were tried"
        )
    return ""


def _table(found: "Plan") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("Model", "s / step", "s / epoch", "Start, s", "Memory", ""):
        left = name in ("Model", "")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "Model")
    shapes = {(one.batch_size, one.image_size) for one in found.arms}
    for one in found.arms:
        shape = f", {one.batch_size} x {one.image_size} px" * (len(shapes) > 1)
        cells = (one.name + shape, *_cells(one))
        table.add_row(*map(Text, cells), style="red" if one.obstacle else None)
    return table


def _cells(one: "Arm") -> tuple[str, ...]:
    if not one.epoch_seconds:
        return "", "", "", "", "does not fit"
    word = "measured" if one.measured else "reckoned"
    return (
        f"{one.step_seconds:.3g}",
        f"{one.epoch_seconds:.3g}",
        f"{one.start_seconds:.2g}",
        f"{one.peak_bytes / 1e9:.2f} GB",
        f"{word}, does not fit" if one.obstacle else word,
    )


def _between(span: "Range", unit: float, form: str) -> str:
    low, high = f"{span.low / unit:{form}}", f"{span.high / unit:{form}}"
    return low if low == high else f"{low} to {high}"


def _parser(sweep: Sweep) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(usage=USAGE, description=sweep.question)
    parser.add_argument(
        "--measure",
        type=int,
        default=2,
        metavar="N",
        help="arms that are measured, evenly from the least to the most work; default: 2",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the plan there as well")
    add_sweep_options(parser, sweep)
    return parser
