"""Show a run's ranking and write its report: `report`."""

from pathlib import Path

from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.runs import existing_run, report


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "report",
        help="show a run's ranking and write its report",
        description="Show a run's ranking, and write its report.html and results.csv again. "
        "A run that is still going may be looked at too.",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a sweep's folder, such as runs/encoders"
    )
    parser.set_defaults(work=lambda args: report(existing_run(args.run)))
