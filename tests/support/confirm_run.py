"""Small made-up confirmations, written through the records' own door."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainseg.analysis.comparison import MARGIN, Comparison, compare
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.run import Run
from tests.support.small_run import begin
from tests.support.written import append_line

SWIN: Params = {"model.encoder.name": "tu-swin_tiny_patch4_window7_224"}
VGG: Params = {"model.encoder.name": "vgg16"}
RESNET: Params = {"model.encoder.name": "resnet50"}
MOBILE: Params = {"model.encoder.name": "mobilenet_v2"}
SMALL: Params = {"model.encoder.name": "resnet18"}
SIZES = {"vgg16": 23_000_000, "resnet50": 32_000_000, "resnet18": 14_000_000}
SIZES |= {"tu-swin_tiny_patch4_window7_224": 28_000_000, "mobilenet_v2": 6_600_000}


def confirmation(
    folder: Path,
    *,
    folds: int = 5,
    seeds: Sequence[int] = (1, 2),
    patients: int = 0,
    validated: int = 0,
    persons: Mapping[int, int] | None = None,
    race: bool = False,
    **more: Any,
) -> Run:
    """A confirmation in which no trial has begun; without folds a list of points.

    Args:
        patients: how many slices.csv lists, in folds that are cut anew for each seed; 0: there is
            no slices.csv, as if all seeds had the folds of the first.
        validated: how many of them, the last ones, validated the search.
        persons: which patients are another one as well, by number.
    """
    strategy = {"kind": "points", "seeds": list(seeds), **({"folds": folds} if folds else {})}
    strategy |= {"race": True} if race else {}
    confirms = {"confirms": {"search": "runs/search", "name": "search", "top": 3}} if folds else {}
    phase = "confirm" if folds else "search"
    run = begin(folder / "run", **{"strategy": strategy, "phase": phase, **confirms, **more})
    if patients:
        names = _names(patients)
        table = pd.DataFrame({"patient": names, "slice": 1, "image": "i.tif", "mask": "m.tif"})
        table = table.assign(tumour=1, site="", part="train")
        table.loc[patients - validated :, "part"] = "validation"
        if persons:
            table["person"] = names[[persons.get(n, n) for n in range(patients)]]
        for seed in seeds if folds else ():
            table[f"fold_{seed}"] = _anew(patients, folds, seed)
        table.to_csv(run.slices, index=False)
    return run


def _names(patients: int) -> NDArray[np.str_]:
    return np.array([f"p{n:03d}" for n in range(patients)])


def _anew(patients: int, folds: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(patients) % folds


def add_configuration(
    run: Run,
    point: Params,
    dice_SP: NDArray[np.float64],
    *,
    folds: int = 5,
    fails: Mapping[tuple[int, int], str] | None = None,
    sizes: bool = True,
) -> None:
    """Its trials, a seed and fold each, with these Dice at the last epoch, higher ones before.

    Args:
        dice_SP: of the run's first seeds.
        fails: why the trial of a (seed, fold) failed.
    """
    patients = dice_SP.shape[1]
    names, anew = _names(patients), run.slices.exists()
    seeds = run.settings()["strategy"]["seeds"][: len(dice_SP)]
    for seed, own_P in zip(seeds, dice_SP, strict=True):
        fold_P = np.arange(patients) % max(folds, 1)
        fold_P = _anew(patients, folds, seed) if anew and folds else fold_P
        for fold in range(max(folds, 1)):
            trial = f"{len(run.trials()):04d}"
            config = build(TrialConfig(), {**point, "seed": seed, "fold": fold})
            run.note(
                trial, "running", configuration=configuration_name(config), params=flatten(config)
            )
            if reason := (fails or {}).get((seed, fold)):
                run.note(trial, "failed", reason=reason)
                continue
            held = fold_P == fold
            _finish(run, trial, names[held], own_P[held], config.model.name if sizes else "")


def _finish(run: Run, trial: str, names: Any, dice: Any, encoder: str) -> None:
    for epoch, score in enumerate((0.5, float(dice.mean())), start=1):
        row = {"epoch": epoch, "dice": score, "iou": score / 2, "lr": 1e-3, "seconds": 30.0}
        row |= {"devices": 1, "train_loss": 0.5, "val_loss": 0.5, "best_dice": 0.99}
        row |= {"best_epoch": 1} | ({"parameters": SIZES[encoder]} if encoder else {})
        append_line(run.trial(trial).metrics, row)
    table = pd.DataFrame({"patient": names, "slices": 20, "tumour_slices": 5, "tp": 1, "fp": 1})
    table = table.assign(fn=1, dice=dice, iou=dice / 2)
    table.to_csv(run.trial(trial).last, index=False)
    table.assign(dice=0.99).to_csv(run.trial(trial).patients, index=False)  # chosen: not to be used
    run.note(trial, "done", dice=0.99, epoch=2, best_epoch=1, device_seconds=60.0)


def scores(
    mean: float, *, draw: int, patients: int = 40, seeds: int = 2, spread: float = 0.04
) -> NDArray[np.float64]:
    """Dice of a configuration, S,P: some patients are hard for all; ``draw`` seeds the rest."""
    common = np.random.default_rng(9).beta(12, 2, patients)
    rng = np.random.default_rng(draw)
    luck = spread * rng.standard_normal((1, patients)) + 0.02 * rng.standard_normal(
        (seeds, patients)
    )
    luck -= luck.mean()
    return np.clip(common - common.mean() + mean + luck, 0, 1)


def three_configurations(folder: Path) -> Run:
    """The first two as good as each other, the third far behind."""
    run = confirmation(folder)
    add_configuration(run, VGG, scores(0.8, draw=1))
    add_configuration(run, RESNET, scores(0.801, draw=2))
    add_configuration(run, SMALL, scores(0.7, draw=3))
    return run


def five_configurations(folder: Path) -> Run:
    """Three that may be the best; one of them and VGG fail on patients; one left the race.

    Of the 40 patients 8 validated the search; 10 more are locked.
    """
    counts = {"test": {"patients": 10, "slices": 200}, "fold 0": {"patients": 8, "slices": 160}}
    split = {"by": "patients", "validation": 0.2, "test": 0.2, "seed": 0, "shared_patients": 0}
    split |= {"counts": counts}
    run = confirmation(folder, patients=40, validated=8, race=True, split=split)
    add_configuration(run, SWIN, scores(0.82, draw=1, spread=0.02))
    add_configuration(run, RESNET, scores(0.818, draw=2, spread=0.02))
    for draw, (point, failed) in enumerate(((VGG, 7), (MOBILE, 2)), start=3):
        dice_SP = scores(0.8, draw=draw)
        dice_SP[:, 5 : 5 + failed] = 0.02
        add_configuration(run, point, dice_SP)
    left = f"{len(run.trials()):04d}"
    add_configuration(run, SMALL, scores(0.7, draw=5, seeds=1))
    note = {"time": "2026-11-30T12:00:00+00:00", "seeds": [1], "trial": left, "by": "0000"}
    append_line(run.path / "race.jsonl", note | {"difference": -0.12, "bound": -0.081})
    return run


def compared(run: Run, margin: float = MARGIN) -> Comparison:
    return compare(RunSnapshot.load(run), margin=margin)
