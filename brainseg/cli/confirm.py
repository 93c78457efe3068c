"""Train the best of a search again, fold by fold, beside the report's models: `confirm`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg.cli.options import add_place_options, numbers
from brainseg.cli.sweep import begun, heeding_offline, run_and_report
from brainseg.cli.sweep_args import asked_wandb
from brainseg.config.sweep import Points, Sweep
from brainseg.data.address import is_address
from brainseg.records.files import read_json
from brainseg.records.run import Run, TrialRecord

if TYPE_CHECKING:
    from brainseg.launch.job import Job


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "confirm",
        help="train the best of a search again over patient folds and seeds",
        description="Train the best of a search and the report's four models again, each with "
        "every fold of the patients held out in turn and with every seed. The search's locked "
        "patients stay locked. Results go to a folder NAME-confirm beside the search's; the same "
        "command again goes on.",
    )
    parser.add_argument("run", type=Path, help="the search's folder, as runs/encoders")
    parser.add_argument("--data", metavar="DATA", help="where the search's data are by now")
    what = parser.add_argument_group("what is trained")
    what.add_argument(
        "--top",
        type=int,
        default=3,
        help="so many of the best, by expected Dice; default: 3",
    )
    what.add_argument("--folds", type=int, default=5, help="of the patients; default: 5")
    what.add_argument(
        "--seeds", type=numbers, default=(0, 1), metavar="0,1,...", help="default: 0,1"
    )
    what.add_argument(
        "--no-baselines",
        action="store_false",
        dest="baselines",
        help="leave out those of the report's models that are not among the best",
    )
    what.add_argument("--trials", type=int, help="stop after so many; default: all")
    add_place_options(parser.add_argument_group("where it runs"))
    parser.set_defaults(work=_confirm)


def _confirm(args: argparse.Namespace) -> None:
    with heeding_offline(args):
        _confirm_search(args)


def _confirm_search(args: argparse.Namespace) -> None:
    from brainseg.search.confirmation import confirmation

    search = begun(args.run)
    sweep = confirmation(
        search,
        top=args.top,
        folds=args.folds,
        seeds=args.seeds,
        baselines=args.baselines,
        trials=args.trials,
    )
    job = _job(args, search)
    _say_plan(search, sweep)
    run_and_report(sweep, job)


def _job(args: argparse.Namespace, search: Run) -> "Job":
    from brainseg.launch.job import Job

    data = read_json(search.sweep)["data"]
    return Job(
        data=_data(args, search, data),
        storage=search.path.resolve().parent,
        layout=data["layout"],
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        concurrent=args.concurrent,
        wait_minutes=args.wait,
        wandb=asked_wandb(args),
        address=args.address,
        made_up=data["made_up"],
        command=args.command,
    )


def _data(args: argparse.Namespace, search: Run, data: dict[str, Any]) -> str:
    root = str(args.data or data["root"])
    if not is_address(root) and not Path(root).expanduser().is_dir():
        raise ValueError(
            f"the data of {search.path} must be there to train on them again, {root} is no folder; "
            "say with --data where they are now"
        )
    return root


def _say_plan(search: Run, sweep: Sweep) -> None:
    """What will be trained, where each arm comes from, and about what it costs."""
    from brainseg.config.hyperparameters import configuration_name
    from brainseg.records.queries import in_words, named, varied_between_arms
    from brainseg.records.trial_state import TrialState
    from brainseg.search.confirmation import candidates, chosen_by, expected_seconds

    assert sweep.confirms and isinstance(sweep.strategy, Points), "made by confirmation"
    known = {one.trial: one for one in candidates(search)}
    records = [TrialRecord("", TrialState.QUEUED, params=dict(point)) for point in sweep.first]
    paths = varied_between_arms(records)
    for point, own in zip(sweep.first, sweep.confirms.origins, strict=True):
        told = ["one of the report's models"] * own.baseline
        if one := known.get(own.trial):
            early = ", though it was stopped early" * (one.state == "stopped")
            expected = f", {one.expected:.3f} expected" if one.expected is not None else ""
            told.append(f"the search's trial {own.trial}, Dice {one.dice:.3f}{expected}{early}")
        words = named(configuration_name(sweep.space.config(point)), in_words(point, paths))
        print(f"{words}: {' and '.join(told)}")
    print(chosen_by(search, sweep))
    whole = len(sweep.first) * len(sweep.strategy.repeats)
    print(
        f"{len(sweep.first)} configurations x {sweep.strategy.folds} folds x "
        f"{len(sweep.strategy.seeds)} seeds = {whole} trials, each to its last epoch"
        + (f"; the first {sweep.trials} of them now" if sweep.trials < whole else "")
        + f": about {expected_seconds(search, sweep) / 3600:.2g} device-hours, as the search's "
        "epochs took"
    )
