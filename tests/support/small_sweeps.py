"""Sweeps without data: fixed lists of configurations, and a search."""

from dataclasses import replace

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS, Bayes, Points, Split, Sweep

HELD = Space(TrialConfig(), search=())
LOOSE = Space(TrialConfig(), search=("model.encoder.name", "optimizer.adamw.lr"))


def listed(first: tuple[Params, ...], strategy: Points | None = None, **other: object) -> Sweep:
    return Sweep(
        name="s",
        question="?",
        space=HELD,
        first=first,
        strategy=strategy or Points(),
        **other,  # type: ignore[arg-type]
    )


REPORT = Sweep(
    name="s",
    question="?",
    space=HELD,
    first=REPORT_MODELS,
    strategy=Points(seeds=(0, 1, 2)),
    split=Split(by="slices", validation=0.3, test=0.15),
)
HONEST = replace(REPORT, split=Split())
DRAWN = Sweep(name="s", question="?", space=LOOSE, first=REPORT_MODELS, strategy=Bayes(trials=20))
