"""`--smoke` and made-up patients: a sweep made small, to see whether it runs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.config.distributions import Params, Value
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.sweep import Points, Sweep

if TYPE_CHECKING:
    pass


# Without --data a sweep is a rehearsal on made-up patients, small enough for two cores.
REHEARSAL: Params = {"image_size": 64, "epochs": 6, "batch_size": 8, "model.plain.width": 16}
REHEARSAL_GRACE = 2
REHEARSAL_POINTS = [  # small encoders, all of them trained: after the script's own first points
    {"model": "encoder", "model.encoder.name": name, "model.encoder.freeze": "nothing"}
    for name in ("resnet18", "mobilenet_v2", "efficientnet-b0")
]
# With --smoke it only shows that it runs from its first point to its report.
SMOKE: Params = {"image_size": 64, "epochs": 2, "batch_size": 4, "model.plain.width": 4}
FEW_TRIALS = 8  # of a rehearsal and of a smoke test, at most


def made_small(sweep: Sweep, held: Params) -> Sweep:
    """``sweep`` with ``held`` held, whatever its points say there, with one seed, no patience."""
    space = sweep.space.holding(held)
    points: list[Mapping[str, Value]] = [
        {path: value for path, value in point.items() if path not in held} for point in sweep.first
    ]
    strategy = sweep.strategy
    if isinstance(strategy, Points):
        strategy = replace(strategy, seeds=strategy.seeds[:1])
    else:
        strategy = replace(strategy, grace_epochs=REHEARSAL_GRACE)
        if "model.encoder.name" in space.distributions() and held is REHEARSAL:
            points += REHEARSAL_POINTS
    different: dict[TrialConfig, Mapping[str, Value]] = {}
    for point in points:
        different.setdefault(space.config(point), point)
    return replace(
        sweep,
        space=space,
        first=tuple(different.values()),
        strategy=strategy,
        budget=replace(sweep.budget, patience=0),
    )


def made_up_patients(folder: Path, *, smoke: bool) -> Path:
    """Phantoms below ``folder``, written at the first call."""
    from brainseg.data.phantom import write_phantoms

    print("no --data: made-up patients are used, to rehearse; they tell nothing about real ones")
    if smoke:
        return write_phantoms(folder / "few", patients=8, slices=5, size=64, seed=0)
    return write_phantoms(folder / "phantoms", patients=24, slices=16, size=128, seed=0)
