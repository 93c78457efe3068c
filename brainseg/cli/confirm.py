"""Train the best of a search again, fold by fold, beside a baseline: `confirm`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options.parser import Commands, Parser, one_of, seeds, whole_number
from brainseg.cli.options.resume import ResumeOptions, add_resume_options, resume_from_args
from brainseg.cli.options.shared import PlaceOptions, add_place_options, place_from_args
from brainseg.cli.runs import data_of, existing_run, offline_if, run_and_report
from brainseg.config.design import BASELINES, Baselines, Design
from brainseg.config.points import FEWEST_REPEATS
from brainseg.config.sweep import Points, Sweep
from brainseg.records.run import Run, TrialRecord

if TYPE_CHECKING:
    from brainseg.launch.job import Job


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions:
    """Which configurations of a search are trained again, and how often."""

    run: Path
    data: str | None  # None: where the search had them
    top: int | None  # None of these: as the confirmation was started, else as Design has it
    folds: int | None
    seeds: tuple[int, ...] | None
    baselines: Baselines | None
    trials: int | None
    race: bool | None  # None: as the confirmation was started, else with
    resume: ResumeOptions
    place: PlaceOptions
    command: str


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "confirm",
        help="train the best of a search again, over patient folds and seeds",
        usage="brainseg confirm RUN [options]",
        description="Train the best configurations of a search again, and with them a plain U-Net: "
        "each fold of the patients is held out in turn, with every seed, for each of which the "
        "folds are cut anew. After each seed, configurations that cannot be the best leave. "
        "Patients that the search locked stay locked. Results go to a folder NAME-confirm beside "
        "the search's. Run the same command again to resume; what was started keeps its settings, "
        "and further --seeds extend it.",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="the search's folder, such as runs/encoders"
    )
    parser.add_argument("--data", metavar="DATA", help="where the data are now, if they were moved")
    _add_trial_options(parser.add_argument_group("what is trained"))
    add_resume_options(parser.add_argument_group("trials that fail or hang"))
    add_place_options(parser.add_argument_group("machines"))
    parser.set_defaults(work=lambda args: _confirm(_options(args)))


def _add_trial_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--top",
        type=whole_number,
        metavar="N",
        help=f"the N best configurations, by expected Dice (default: {Design.top})",
    )
    group.add_argument(
        "--folds",
        type=whole_number,
        metavar="K",
        help=f"folds of the patients (default: {Design.folds})",
    )
    group.add_argument(
        "--seeds",
        type=seeds,
        metavar="1,2,...",
        help="seeds of every configuration and fold; folds x (seeds - 1) must be "
        f"{FEWEST_REPEATS} or more (default: {','.join(map(str, Design.seeds))}, without those "
        "that the search used)",
    )
    group.add_argument(
        "--baselines",
        type=one_of(*BASELINES),
        metavar="|".join(BASELINES),
        help="models to compare with: a plain U-Net, the report's four models, or none but those "
        f"that are among the best (default: {Design.baselines})",
    )
    group.add_argument(
        "--race",
        type=one_of("on", "off"),
        metavar="on|off",
        help="after each seed, configurations that cannot be the best get no further ones "
        "(default: on)",
    )
    group.add_argument(
        "--trials", type=whole_number, metavar="N", help="end after N trials (default: all)"
    )


def _options(args: argparse.Namespace) -> ConfirmOptions:
    return ConfirmOptions(
        run=args.run,
        data=args.data,
        top=args.top,
        folds=args.folds,
        seeds=args.seeds,
        baselines=args.baselines,
        trials=args.trials,
        race={None: None, "on": True, "off": False}[args.race],
        resume=resume_from_args(args),
        place=place_from_args(args),
        command=args.command,
    )


def _confirm(options: ConfirmOptions) -> None:
    with offline_if(options.place.offline):
        from brainseg.search.confirmation import confirmation

        search = existing_run(options.run)
        sweep = confirmation(
            search,
            top=options.top,
            folds=options.folds,
            seeds=options.seeds,
            baselines=options.baselines,
            trials=options.trials,
            race=options.race,
        )
        job = _job(options, search)
        _print_plan(search, sweep)
        run_and_report(sweep, job)


def _job(options: ConfirmOptions, search: Run) -> "Job":
    data = search.settings()["data"]
    return options.place.job(
        data=data_of(search, options.data),
        storage=search.path.resolve().parent,
        layout=data["layout"],
        label=data.get("label", ""),
        resume=options.resume,
        made_up=data["made_up"],
        command=options.command,
    )


def _print_plan(search: Run, sweep: Sweep) -> None:
    """What will be trained, where each configuration comes from, and about what it costs."""
    from brainseg.config.hyperparameters import configuration_name
    from brainseg.records.queries import full_name, in_words, varied_between_configurations
    from brainseg.records.trial_state import TrialState
    from brainseg.search.confirmation import how_chosen, ranked_configurations, search_seeds

    assert sweep.confirms and isinstance(sweep.strategy, Points), "made by confirmation"
    known = {candidate.trial: candidate for candidate in ranked_configurations(search)}
    records = [TrialRecord("", TrialState.QUEUED, params=dict(point)) for point in sweep.first]
    paths = varied_between_configurations(records)
    for point, origin in zip(sweep.first, sweep.confirms.origins, strict=True):
        origins = ["a baseline"] * origin.baseline
        if tried := known.get(origin.trial):
            early = ", though it was stopped early" * (tried.state == TrialState.STOPPED)
            expected = "" if tried.expected is None else f", {tried.expected:.3f} expected"
            origins.append(
                f"the search's trial {origin.trial}, Dice {tried.dice:.3f}{expected}{early}"
            )
        words = full_name(configuration_name(sweep.space.config(point)), in_words(point, paths))
        print(f"{words}: {' and '.join(origins)}")
    print(how_chosen(search, sweep))
    print(_size(search, sweep, sweep.strategy))
    if shared := sorted(search_seeds(search).intersection(sweep.strategy.seeds)):
        # No error: a confirmation of an earlier version has seed 0, and its other seeds do count.
        print(
            f"note: the search used seed {', '.join(map(str, shared))} as well, so the luck by "
            "which it chose these configurations counts again there; the default seeds avoid that"
        )


def _size(search: Run, sweep: Sweep, strategy: Points) -> str:
    """How many trials there are, and about what those cost that are still to come."""
    from brainseg.records.trial_state import TrialState
    from brainseg.search.confirmation import expected_seconds

    whole = len(sweep.first) * len(strategy.repeats)
    started = Run(search.path.resolve().parent / sweep.name)
    records = started.trials() if started.sweep.exists() else []
    done = sum(record.state == TrialState.DONE for record in records)
    seconds = expected_seconds(search, sweep) * max(1 - done / sweep.trials, 0)
    return (
        f"{len(sweep.first)} configurations x {strategy.folds} folds x "
        f"{len(strategy.seeds)} seeds = {'up to ' * strategy.race}{whole} trials, each to its "
        "last epoch"
        + (f"; the first {sweep.trials} of them now" if sweep.trials < whole else "")
        + (f"; {done} are done" if done else "")
        + ("; configurations that cannot be the best leave after each seed" * strategy.race)
        + f": {'at most ' * strategy.race}about {seconds / 3600:.2g} device-hours"
        + (" for the rest" if done else "")
        + ", at the speed of the search's epochs"
    )
