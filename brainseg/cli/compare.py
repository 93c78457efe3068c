"""Report which configurations of a confirmation may be the best: `compare`."""

from pathlib import Path

from brainseg.cli.console import terminal
from brainseg.cli.options.parser import Commands, Parser, number
from brainseg.cli.runs import existing_run


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "compare",
        help="which configurations may be the best",
        description="Compare the configurations of a confirmation, or of a fixed list run with "
        "several seeds, patient by patient: which of them may be the best, how far each may be "
        "from the best, on how many patients each fails, and the smallest that is good enough. "
        "Writes compare.csv and subgroups.csv into the run's folder.",
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
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="also every pair with its difference, interval and p; writes pairs.csv",
    )
    parser.set_defaults(work=lambda args: _compare(args.run, margin=args.margin, pairs=args.pairs))


def _compare(folder: Path, *, margin: float, pairs: bool) -> None:
    from brainseg.analysis.comparison import compare
    from brainseg.analysis.snapshot import RunSnapshot
    from brainseg.analysis.subgroups import subgroups
    from brainseg.report import comparison_tables as tables

    run = RunSnapshot.load(existing_run(folder))
    comparison = compare(run, margin=margin)
    tables.write_comparison(run, comparison)
    tables.print_comparison(run, comparison, terminal())
    if groups := subgroups(run):
        print(tables.write_subgroups(run, groups))
    if pairs:
        tables.write_pairs(run, comparison)
        tables.print_pairs(run, comparison, terminal())
