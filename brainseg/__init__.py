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

A model that a sweep has found is used like this::

    import brainseg

    model = brainseg.load("bundle")
    mask = model.predict(image)

Importing brainseg loads the standard library alone; ``run`` and ``load`` load the rest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Budget, Points, Split, Sweep, grid

if TYPE_CHECKING:
    from brainseg.inference.model import Model

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
    "load",
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


def load(path: str | Path, arm: str | None = None, *, refit: bool = True) -> "Model":
    """The model in a bundle, in a trial's folder or in a run, see ``Model.predict``.

    Loads neither Ray nor W&B, and downloads nothing.

    Args:
        path: of a run it is the winner, or its refit where there is one.
        arm: another configuration of a run, as its tables call it, or the number of a trial of it.
        refit: False: the networks of the run itself, whether they were refitted or not.

    Raises:
        ValueError: the folder holds no model, or a damaged one; says what to do.
    """
    from brainseg.inference.sources import open_model

    return open_model(Path(path), arm, refit=refit)
