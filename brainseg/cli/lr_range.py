"""Find the learning rates between which a configuration learns: `lr-range`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from brainseg.cli.console import errors
from brainseg.cli.options.parser import Commands, Parser, number, whole_number
from brainseg.cli.options.resolve import job_from_options, sweep_from_options
from brainseg.cli.options.shared import (
    DATA,
    add_layout_options,
    add_split_options,
    split_from_args,
)
from brainseg.cli.options.sweep import SweepOptions, fixed_from
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Split, Sweep
from brainseg.data.address import local_path
from brainseg.records.run import Run

if TYPE_CHECKING:
    from brainseg.launch.job import Job
    from brainseg.training.lr_range import Bounds, OnStep, RangeCurve
    from brainseg.training.schedules import Setting
    from brainseg.training.trial import Trial

CYCLICAL = ("triangular", "triangular2", "exprange")
NOT_TESTED = ("optimizer.*.lr", "schedule.*.*")  # hyperparameters that a range test overrides


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """Over which learning rates, in how many steps, and where the curve goes."""

    steps: int
    lowest: float
    highest: float
    out: Path


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "lr-range",
        help="find the learning rates between which a configuration learns",
        usage="brainseg lr-range [options]",
        description="Raise the learning rate from step to step, and watch the loss (Smith, 2017). "
        "Suggests the bounds of a cyclical schedule, as options of `brainseg train`.",
    )
    data = parser.add_argument_group("data and results")
    data.add_argument("--data", metavar="DATA", help=f"{DATA} (default: made-up patients)")
    add_layout_options(data)
    data.add_argument(
        "--out",
        type=Path,
        default=Path("runs/lr-range"),
        metavar="FOLDER",
        help="write lr_range.csv and lr_range.png there, over those of an earlier test (default: "
        "%(default)s)",
    )
    add_split_options(parser.add_argument_group("split"), Split())
    _add_trial_options(parser.add_argument_group("what is trained"))
    test = parser.add_argument_group("range test")
    test.add_argument(
        "--steps",
        type=whole_number,
        default=200,
        metavar="N",
        help="optimizer steps, a batch each (default: %(default)s)",
    )
    test.add_argument(
        "--lowest",
        type=number,
        default=1e-7,
        metavar="LR",
        help="learning rate of the first step (default: 1e-7)",
    )
    test.add_argument(
        "--highest",
        type=number,
        default=10.0,
        metavar="LR",
        help="learning rate of the last step (default: 10)",
    )
    parser.set_defaults(work=lambda args: _lr_range(_sweep_options(args), _range_test(args)))


def _add_trial_options(group: argparse._ArgumentGroup) -> None:
    usual = TrialConfig()
    group.add_argument(
        "--image-size",
        type=whole_number,
        metavar="PIXELS",
        help=f"pixels a side (default: {usual.image_size})",
    )
    group.add_argument(
        "--weights",
        metavar="none|imagenet|medical:NAME|FILE",
        help="weights that the encoder starts from (default: imagenet)",
    )
    group.add_argument(
        "--seed", type=whole_number, metavar="N", help=f"seed of the trial (default: {usual.seed})"
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="fix a hyperparameter, such as model.encoder.name=mit_b2; may be repeated",
    )


def _sweep_options(args: argparse.Namespace) -> SweepOptions:
    fixed = fixed_from(args.set)
    for path, value in fixed.items():
        if any(fnmatchcase(path, pattern) for pattern in NOT_TESTED):
            raise ValueError(
                f"{path}={value} has no effect: a range test sets the learning rate of each step "
                "itself; leave it out, or choose --lowest, --highest and --steps"
            )
    return SweepOptions(
        data=args.data,
        layout=args.layout,
        label=args.label or "",
        split=split_from_args(args),
        image_size=args.image_size,
        weights=args.weights,
        seed=args.seed,
        fixed=fixed,
        command=args.command,
    )


def _range_test(args: argparse.Namespace) -> RangeTest:
    return RangeTest(
        steps=args.steps, lowest=args.lowest, highest=args.highest, out=local_path(args.out)
    )


def _lr_range(options: SweepOptions, test: RangeTest) -> None:
    from brainseg.training.guards import memory
    from brainseg.training.lr_range import require_growing

    require_growing(test.lowest, test.highest, test.steps)
    sweep, job = sweep_from_options(_configuration(), options), job_from_options(options)
    folder = _existing(test.out)
    params = {**flatten(sweep.space.config({})), "lr": "given"}
    try:
        with TemporaryDirectory(prefix="brainseg-") as run, _progress(test.steps) as on_step:
            curve = trial_for(Run(Path(run)), sweep, job, params).range_test(
                steps=test.steps, lowest=test.lowest, highest=test.highest, on_step=on_step
            )
    except (RuntimeError, MemoryError) as error:
        if not memory.is_shortage(error):
            raise
        figures = memory.figures(error)
        raise ValueError(f"out of {figures}; try a smaller batch_size or image_size") from None
    bounds = _saved(curve, folder)
    print(
        f"the loss starts to fall at lr {bounds.low:.2g} and has nearly bottomed out at "
        f"{bounds.high:.2g}"
    )
    print(f"a learning rate that cycles between them:\n  {words(params, bounds)}")
    print("to find the bounds again for each trial: --set lr=auto")


def words(params: Params, bounds: "Bounds") -> str:
    """The options of ``train`` that let the rate cycle between the bounds."""
    optimizer, schedule = params["optimizer"], params["schedule"]
    kind = schedule if schedule in CYCLICAL else CYCLICAL[0]
    high, share = f"{bounds.high:.3g}", f"{bounds.low / bounds.high:.3g}"
    return (
        f"--set optimizer.{optimizer}.lr={high} --set schedule={kind} "
        f"--set schedule.{kind}.floor={share}"
    )


def _configuration() -> Sweep:
    return Sweep(
        name="lr-range",
        question="Between which learning rates does this configuration learn?",
        space=Space(TrialConfig(), search=()),
        strategy=Bayes(trials=1),
    )


def trial_for(run: Run, sweep: Sweep, job: "Job", params: Params) -> "Trial":
    """The trial, on its training slices, in a run that is never searched."""
    import torch

    from brainseg.data.dataset import read_data
    from brainseg.data.partition import assign_split
    from brainseg.launch.run_folder import open_run
    from brainseg.launch.validate import (
        check_channels,
        check_points,
        check_weights,
        modality_dropout_off,
        tumours_lost,
    )
    from brainseg.training.task import Task
    from brainseg.training.trial import Trial

    data = read_data(job.data, job.layout, print, job.label)
    config = sweep.space.config({})
    check_points([config], workers=1)
    check_weights([config], print)
    check_channels([config], data.table, data.root)
    for line in tumours_lost([config], data.table, data.root):
        print(line)
    data.table["part"] = assign_split(data, sweep.split, print)["part"]
    open_run(run, sweep, data, made_up=job.made_up, command=job.command)
    if off := modality_dropout_off(run.settings()["data"], [config]):
        print(off)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{configuration_name(config)}, on {(data.table['part'] == 'train').sum()} slices")
    run.trial(sweep.name).create(params)
    return Trial(Task(run.path, sweep.name, threads=torch.get_num_threads()), device)


def _saved(curve: "RangeCurve", folder: Path) -> "Bounds":
    """The suggested bounds; writes curve and picture, the picture even if there are no bounds.

    Raises:
        ValueError: the loss never falls.
    """
    from brainseg.report.figures.lr_range import range_curve
    from brainseg.training.lr_range import suggest, write_curve

    table, picture = folder / "lr_range.csv", folder / "lr_range.png"
    try:
        bounds = suggest(curve)
    except ValueError as error:
        picture.write_bytes(range_curve(curve.lrs, curve.losses, curve.smoothed(), {}))
        raise ValueError(f"{error}; {picture} shows it") from None
    marks = {"minimum": bounds.low, "maximum": bounds.high}
    picture.write_bytes(range_curve(curve.lrs, curve.losses, curve.smoothed(), marks))
    write_curve(table, curve, bounds)
    print(f"{table}\n{picture}")
    return bounds


def _existing(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--out names a folder to write into, {folder} cannot be made ({error.strerror}); "
            "name another"
        ) from None
    return folder


@contextmanager
def _progress(steps: int) -> "Iterator[OnStep]":
    """A bar on a terminal, otherwise a line every tenth of the steps."""
    from rich.progress import Progress

    console, taken = errors(), count(1)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("range test", total=steps)

        def on_step(setting: "Setting", loss: float) -> None:
            step, reading = next(taken), f"rate {setting.lr:.1e}  loss {loss:.3f}"
            bar.update(task, completed=step, description=reading)
            if not console.is_terminal and step % max(1, steps // 10) == 0:
                print(f"step {step}/{steps}  {reading}")

        yield on_step
