"""Find the learning rates between which a configuration learns: `lr-range`."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from brainseg.cli.options import add_split_options, add_sweep_options
from brainseg.cli.sweep_args import as_asked, asked_job
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Split, Sweep
from brainseg.records.files import read_json, write_json
from brainseg.records.run import Run

if TYPE_CHECKING:
    from brainseg.launch.job import Job
    from brainseg.training.lr_range import Bounds, OnStep, RangeCurve
    from brainseg.training.schedules import Setting
    from brainseg.training.trial import Trial

CYCLICAL = ("triangular", "triangular2", "exprange")


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    usual = argparse.ArgumentParser()
    add_sweep_options(usual, _configuration())
    parser = verbs.add_parser("lr-range", help="find the rates between which a network learns")
    parser.set_defaults(**vars(usual.parse_args([])), work=_lr_range)
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="DATA", help="as for train; default: made-up patients")
    data.add_argument("--layout", help="default: found by looking")
    add_split_options(data, Split())
    what = parser.add_argument_group("what is trained")
    what.add_argument("--image-size", type=int, help="pixels")
    what.add_argument("--weights", metavar="none|imagenet|FILE", help="what an encoder starts from")
    what.add_argument("--seed", type=int, help="default: 0")
    what.add_argument("--set", action="append", metavar="PATH=VALUE", help="as for train")
    test = parser.add_argument_group("the test")
    test.add_argument("--steps", type=int, default=200, help="one batch each; default: 200")
    test.add_argument("--lowest", type=float, default=1e-7, help="first rate; default: 1e-7")
    test.add_argument("--highest", type=float, default=10.0, help="last rate; default: 10")
    test.add_argument(
        "--out",
        type=Path,
        default=Path("runs/lr-range"),
        metavar="FOLDER",
        help="for lr_range.csv and lr_range.png, which are replaced; default: runs/lr-range",
    )


def _lr_range(args: argparse.Namespace) -> None:
    import torch

    sweep, job = as_asked(_configuration(), args), asked_job(args)
    folder = _made(args.out.expanduser())
    params = {**flatten(sweep.space.config({})), "lr": "given"}
    try:
        with TemporaryDirectory(prefix="brainseg-") as run, _progress(args.steps) as on_step:
            curve = _trial(Run(Path(run)), sweep, job, params).range_test(
                steps=args.steps, lowest=args.lowest, highest=args.highest, on_step=on_step
            )
    except torch.OutOfMemoryError:
        raise ValueError("out of GPU memory; try a smaller batch_size or image_size") from None
    bounds = _kept(curve, folder)
    print(
        f"the loss begins to fall at {bounds.low:.2g} and has nearly done so at {bounds.high:.2g}"
    )
    print(f"a rate that cycles between them:\n  {words(params, bounds)}")
    print("bounds of each trial's own: --set lr=auto")


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


def _trial(run: Run, sweep: Sweep, job: "Job", params: Params) -> "Trial":
    """The trial, on its training slices, in a run that is never searched."""
    import torch

    from brainseg.data.dataset import read_data
    from brainseg.data.partition import assign_split
    from brainseg.launch.run_folder import open_run
    from brainseg.launch.validate import check_channels, check_points, modality_dropout_off
    from brainseg.training.task import Task
    from brainseg.training.trial import Trial

    data, config = read_data(job.data, job.layout, print), sweep.space.config({})
    check_points([config], workers=1)
    check_channels([config], data.table, data.root)
    data.table["part"] = assign_split(data, sweep.split, print)["part"]
    open_run(run, sweep, data, made_up=job.made_up, command=job.command)
    if off := modality_dropout_off(read_json(run.sweep)["data"], [config]):
        print(off)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{configuration_name(config)}, on {(data.table['part'] == 'train').sum()} slices")
    write_json(run.trial(sweep.name).config, params)
    return Trial(Task(run.path, sweep.name, threads=torch.get_num_threads()), device)


def _kept(curve: "RangeCurve", folder: Path) -> "Bounds":
    """The suggested bounds; curve and picture are written, the picture also where there are none.

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


def _made(folder: Path) -> Path:
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
    from rich.console import Console
    from rich.progress import Progress

    console, taken = Console(stderr=True), count(1)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("range test", total=steps)

        def on_step(setting: "Setting", loss: float) -> None:
            step, found = next(taken), f"rate {setting.lr:.1e}  loss {loss:.3f}"
            bar.update(task, completed=step, description=found)
            if not console.is_terminal and step % max(1, steps // 10) == 0:
                print(f"step {step}/{steps}  {found}")

        yield on_step
