"""brainseg: which encoder, frozen how far, on which schedule, segments this brain MRI best?

A sweep is a page of Python::

    from brainseg import Bayes, Space, Sweep, TrialConfig, run

    sweep = Sweep(
        name="encoders",
        question="Which encoder segments this brain MRI best?",
        space=Space(TrialConfig(), search=("model.encoder.name", "optimizer.adamw.lr")),
        strategy=Bayes(trials=20),
    )

    if __name__ == "__main__":
        run(sweep)

Importing brainseg loads the standard library alone; ``run`` loads the rest.
"""

from collections.abc import Sequence

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Budget, Points, Split, Sweep, grid

__all__ = [
    "REPORT_MODELS",
    "Bayes",
    "Budget",
    "Points",
    "Space",
    "Split",
    "Sweep",
    "TrialConfig",
    "grid",
    "run",
]


def run(sweep: Sweep, argv: Sequence[str] | None = None) -> None:
    """Run ``sweep`` with the options of a command line, then show and write its report.

    Called again with the same options, it resumes. ``argv`` is the command line without the
    script's name; None takes that of the process.

    Raises:
        SystemExit: status 2 where an option or the data is wrong, 130 after Ctrl-C.
    """
    from brainseg.cli.main import run as run_sweep

    run_sweep(sweep, argv)
