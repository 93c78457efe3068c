"""Say which arm of a confirmation is best, and which are tied with it: `compare`."""

import argparse
from pathlib import Path

from brainseg.cli.sweep import begun


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "compare",
        help="which arm of a confirmation is best, and which are tied with it",
        description="Compare the arms of a confirmation, or of a list of points run with several "
        "seeds, patient by patient: intervals, a corrected test, ranks, what more would tell the "
        "first two apart, and the smallest arm that is good enough. Writes compare.csv.",
    )
    parser.add_argument("run", type=Path, help="its folder, as runs/encoders-confirm")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.02,
        help="of Dice; an arm behind by less is good enough; default: 0.02",
    )
    parser.set_defaults(work=_compare)


def _compare(args: argparse.Namespace) -> None:
    from rich.console import Console

    from brainseg.analysis.comparison import compare
    from brainseg.analysis.snapshot import RunSnapshot
    from brainseg.report.comparison import print_comparison, write_comparison

    run = RunSnapshot.load(begun(args.run))
    found = compare(run, margin=args.margin)
    write_comparison(run, found)
    print_comparison(run, found, Console())
