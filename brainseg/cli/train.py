"""Train one configuration: `train`."""

from brainseg.cli.options.parser import Commands, Parser
from brainseg.cli.options.resolve import job_from_options, sweep_from_options
from brainseg.cli.options.sweep import SweepOptions, add_sweep_options, sweep_options
from brainseg.cli.runs import offline_if, run_and_report
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Bayes, Sweep

EPILOG = """\
examples:
  brainseg train --data kaggle_3m --set model.encoder.name=mit_b2
  brainseg train --data kaggle_3m --set batch_size=32 --epochs 60
Run the same command again to resume.
"""


def add_command(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "train",
        help="train one configuration",
        description="Train one configuration, then write its report. Every option has a default.",
        usage="brainseg train [options]",
        epilog=EPILOG,
    )
    add_sweep_options(parser, single())
    parser.set_defaults(work=lambda args: run_with(single(), sweep_options(args)))


def run_with(sweep: Sweep, options: SweepOptions) -> None:
    """Run ``sweep`` as the options change it, then write and show its report."""
    with offline_if(options.place.offline):
        run_and_report(sweep_from_options(sweep, options), job_from_options(options))


def single() -> Sweep:
    """A sweep of one trial: a configuration run by hand."""
    return Sweep(
        name="train",
        question="How well does this one configuration segment?",
        space=Space(TrialConfig(), search=()),
        strategy=Bayes(trials=1),
    )
