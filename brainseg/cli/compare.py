"""Report which configuration of a confirmation is best, and which are tied with it: `compare`."""

from pathlib import Path

from brainseg.cli.console import terminal
from brainseg.cli.options.parser import Commands, Parser, number
from brainseg.cli.runs import existing_run


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "compare",
        help="which configuration is best, and which are tied with it",
        description="Compare the configurations of a confirmation, or of a fixed list run with "
        "several seeds, patient by patient: intervals, a corrected test, ranks, how many more "
        "seeds or patients would separate the first two, and the smallest configuration that is "
        "good enough. Writes compare.csv into the run's folder.",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="its folder, such as runs/encoders-confirm"
    )
    parser.add_argument(
        "--margin",
        type=number,
        default=0.02,
        metavar="DICE",
        help="good enough: worse than the best by less than this (default: %(default)s)",
    )
    parser.set_defaults(work=lambda args: _compare(args.run, margin=args.margin))


def _compare(folder: Path, *, margin: float) -> None:
    from brainseg.analysis.comparison import compare
    from brainseg.analysis.snapshot import RunSnapshot
    from brainseg.report.comparison import print_comparison, write_comparison

    run = RunSnapshot.load(existing_run(folder))
    comparison = compare(run, margin=margin)
    write_comparison(run, comparison)
    print_comparison(run, comparison, terminal())
