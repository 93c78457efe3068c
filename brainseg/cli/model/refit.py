"""Train the winner once more, on all patients but the locked ones: `refit`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.options.resume import ResumeOptions, add_resume_options, resume_from_args
from brainseg.cli.options.shared import PlaceOptions, add_place_options, place_from_args
from brainseg.cli.runs import data_of, existing_run, offline_if, run_and_report
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.origins import Measured, Refits
from brainseg.config.schema import build
from brainseg.config.sweep import Points, Sweep
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState

if TYPE_CHECKING:
    from pandas import DataFrame

    from brainseg.analysis.snapshot import RunSnapshot
    from brainseg.inference.winner import Ranking, RunConfiguration
    from brainseg.launch.job import Job


@dataclass(frozen=True, kw_only=True)
class RefitOptions:
    """Which configuration of a run is trained once more."""

    run: Path
    arm: str  # "": the one that wins
    data: str | None  # None: where the run had them
    resume: ResumeOptions
    place: PlaceOptions
    command: str


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "refit",
        help="train the winner once more, on all patients but the locked ones",
        usage="brainseg refit RUN [options]",
        description="Train one configuration of a confirmation once more, on all patients but "
        "those that the search locked, to its last epoch: the first of `brainseg compare`, or "
        "another with --arm. Nobody is left to validate on, so it has no score of its own; what "
        "to expect of it is what the confirmation measured. The result goes to a folder "
        "NAME-refit beside the confirmation's (NAME-search-refit beside a search's), and is a "
        "model for evaluate, predict and export. "
        "Run the same command again to resume.",
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="the confirmation's folder, such as runs/encoders-confirm; a search's or a list's "
        "will do, but then nothing says how well the model does on new patients",
    )
    parser.add_argument(
        "--arm",
        default="",
        metavar="NAME",
        help="the configuration, as compare and report call it, or the number of a trial of it "
        "(default: the first); one that does not win has a folder NAME-refit-CONFIGURATION",
    )
    parser.add_argument("--data", metavar="DATA", help="where the data are now, if they were moved")
    add_resume_options(parser.add_argument_group("if the training fails or hangs"))
    add_place_options(parser.add_argument_group("machines"))
    parser.set_defaults(work=lambda args: _refit(_options(args)))


def _options(args: argparse.Namespace) -> RefitOptions:
    return RefitOptions(
        run=args.run,
        arm=args.arm,
        data=args.data,
        resume=resume_from_args(args),
        place=place_from_args(args),
        command=args.command,
    )


def _refit(options: RefitOptions) -> None:
    with offline_if(options.place.offline):
        run = existing_run(options.run)
        sweep = sweep_of(run, options.arm)
        job = _job(options, run)
        run_and_report(sweep, job)
        _print_next(Run(job.storage / sweep.name), run)


def _job(options: RefitOptions, run: Run) -> "Job":
    data = run.settings()["data"]
    return options.place.job(
        data=data_of(run, options.data),
        storage=run.path.resolve().parent,
        layout=data["layout"],
        label=data.get("label", ""),
        resume=options.resume,
        made_up=data["made_up"],
        command=options.command,
    )


def sweep_of(run: Run, arm: str) -> Sweep:
    """What is trained: as it was started, else as the run has it now; says so."""
    from brainseg.analysis.snapshot import RunSnapshot
    from brainseg.data.table import read_slices
    from brainseg.inference.winner import rank, require_ended
    from brainseg.search.refit import (
        folder_of,
        folder_of_winner,
        refit,
        require_refittable,
        started_refit,
    )

    require_refittable(run)
    snapshot = RunSnapshot.load(run)
    ranking = rank(snapshot)
    chosen, wins = ranking.winner, True
    folder = folder_of_winner(run)
    if arm:
        chosen = ranking.named(arm)
        wins = chosen.rank == 1
        folder = folder_of(run, chosen.name, chosen.trials, wins=wins)
    if folder.sweep.exists():
        sweep = started_refit(folder)
        _print_resumed(sweep, chosen, folder)
        return sweep
    require_ended(run, "its winner is refitted")
    config = build(TrialConfig(), snapshot.trials[chosen.members[0]].record.params)
    sweep = refit(run, folder.path.name, _refits(snapshot, ranking, chosen), config)
    cost = _cost(snapshot, read_slices(run.slices), sweep, chosen)
    place = "the first" if wins else f"number {chosen.rank}"
    print(f"refits {chosen.name}, {place} of {run.path} by {ranking.rule}")
    print(cost)
    return sweep


def _print_resumed(sweep: Sweep, chosen: "RunConfiguration", folder: Run) -> None:
    assert sweep.refits, "a refit"
    print(f"{folder.path} was started as the refit of {sweep.refits.configuration}")
    if sweep.refits.trial not in chosen.trials:
        print(
            f"note: by now {chosen.name} is the first of {sweep.refits.run}; --arm "
            f"{chosen.members[0]} refits that one, in a folder of its own"
        )


def _cost(run: "RunSnapshot", slices: "DataFrame", sweep: Sweep, chosen: "RunConfiguration") -> str:
    """About what it costs, from what the configuration's trainings cost on fewer patients."""
    from brainseg.data.splits.folds import rows_of

    assert isinstance(sweep.strategy, Points), "made by refit"
    trained = run.trials[chosen.members[0]].record.params
    rows, _ = rows_of(slices, trained.get("fold", 0), trained.get("seed", 0))
    growth = (slices["part"] != "test").sum() / len(rows)
    seconds = fmean(run.trials[trial].device_seconds for trial in chosen.members)
    return (
        f"one training of {sweep.space.config(sweep.first[0]).epochs} epochs, with seed "
        f"{sweep.strategy.seeds[0]}: about {growth * seconds / 3600:.2g} device-hours, at the "
        f"speed of {run.path}'s"
    )


def _print_next(run: Run, origin: Run) -> None:
    """What the model is for, if there is one: a trial that was stopped by hand has none."""
    from brainseg.search.refit import folder_of_winner

    if any(record.state != TrialState.DONE for record in run.trials()):
        return
    if locked := run.settings()["split"]["counts"].get("test"):
        beside = folder_of_winner(origin).path == run.path
        whom = f"evaluate {(origin if beside else run).path}"
        what = f"the {locked['patients']} locked patients, once"
        steps = {whom: f"{what}: it and what was confirmed" if beside else what}
    else:
        steps = {f"evaluate {run.path} --data OTHER": "on patients of elsewhere: none are locked"}
    steps |= {
        f"predict {run.path} IN OUT": "masks of new images",
        f"export {run.path} OUT": "for other programs",
    }
    print("the model is ready:")
    for step, purpose in steps.items():
        print(f"  brainseg {step}    {purpose}")


def _refits(run: "RunSnapshot", ranking: "Ranking", chosen: "RunConfiguration") -> Refits:
    from brainseg.records.queries import fold_count
    from brainseg.search.refit import group_of

    comparison = ranking.comparison
    compared = comparison.configurations if comparison else ()
    interval = next((c.dice for c in compared if c.name == chosen.name), None)
    measured: Measured = "out of fold" if fold_count(run.sweep) else "in validation"
    if ranking.is_search:
        measured = "in the search"
    return Refits(
        run=str(run.path.resolve()),
        name=run.sweep["name"],
        uid=run.sweep["uid"],
        group=group_of(run.sweep),
        configuration=chosen.name,
        trial=chosen.members[0],
        dice=interval.mean if interval else chosen.dice,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        measured=measured,
        patients=comparison.patients if comparison and interval else 0,
    )
