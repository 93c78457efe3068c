"""Score a run's models on patients that none of them was trained on: `evaluate`."""

import argparse
from pathlib import Path

from brainseg.cli.console import ProgressBar, errors, terminal
from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.options.shared import DATA, add_layout_options
from brainseg.cli.runs import NOT_ALL, existing_run
from brainseg.data.readers.problems import counted
from brainseg.process import plain, terminable


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "evaluate",
        help="score the winner on locked patients, once, or on an outside data set",
        usage="brainseg evaluate RUN [options]",
        description="Score a run's winner, and beside it the report's four models where they were "
        "confirmed, on the patients that the run locked, or on an outside data set, which is the "
        "stronger test. Writes RUN/evaluation/NAME/, and notes the opening in RUN/opened.jsonl. "
        "The same data are opened once: a model that is chosen after several looks scores too high "
        "on them.",
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a search's, a confirmation's or a refit's folder, such as runs/encoders-confirm",
    )
    parser.add_argument("--data", metavar="OTHER", help=f"an outside data set: {DATA}")
    add_layout_options(parser)
    parser.add_argument(
        "--arm",
        metavar="NAME",
        help="score this configuration alone, named as the report has it, or by one of its trials",
    )
    parser.add_argument(
        "--again",
        metavar="REASON",
        help="open the same patients once more; reports show the reason beside the scores",
    )
    parser.set_defaults(work=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    if args.data is None and (args.label or args.layout != "auto"):
        raise ValueError(
            "--layout and --label describe an outside data set, locked patients are read as the "
            "run read them; leave them out, or add --data"
        )
    from brainseg.inference.evaluate.evaluate import Question, evaluate
    from brainseg.inference.evaluate.results import read_evaluation
    from brainseg.report.evaluation.terminal import print_evaluation

    run = existing_run(args.run)
    question = Question(
        data=args.data,
        layout=args.layout,
        label=args.label or "",
        arm=args.arm,
        again=args.again,
        command=args.command,
    )
    with terminable():
        name = evaluate(run, question, print, ProgressBar("scoring"))
    evaluation = read_evaluation(run, name)
    print_evaluation(run, evaluation, terminal())
    if bad := evaluation.facts["bad"]:
        left_out = f"{counted(len(bad), 'patient')} left out, whose files cannot be used"
        problem = plain(f"{left_out}: {'; '.join(bad.values())}")
        errors().print(problem, highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(NOT_ALL)
