"""What options make of a sweep, without running it."""

from brainseg.cli.options.parser import Parser, parsed
from brainseg.cli.options.resolve import sweep_from_options
from brainseg.cli.options.sweep import SweepOptions, add_sweep_options, sweep_options
from brainseg.config.sweep import Sweep


def options_of(sweep: Sweep, *words: str) -> SweepOptions:
    parser = Parser()
    add_sweep_options(parser, sweep)
    return sweep_options(parsed(parser, words))


def asked(sweep: Sweep, *words: str) -> Sweep:
    return sweep_from_options(sweep, options_of(sweep, *words))
