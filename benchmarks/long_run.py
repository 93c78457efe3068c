"""The records of a run of many trials, through the records' own writers, without any training.

Rows, costs, patients' tables, panels and trials.jsonl are as trials of 22 validation patients leave
them. On a disk that syncs slowly a thousand trials take minutes: write them into memory.
"""

from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.long_sweep import dice
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.files import append_line, write_json
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from sweeps.encoders import sweep as ENCODERS

PATIENTS, PANELS = 22, 6
Strategy = Literal["search", "list"]
NOTHING = {"dice": 1 / 3, "iou": 1 / 3, "micro_dice": 0.0, "slice_dice_empty1": 0.8}


def write_run(
    folder: Path,
    trials: int,
    epochs: int = 20,
    *,
    configurations: int | None = None,
    folds: int = 0,
    objectives: tuple[str, ...] = ("dice",),
) -> Run:
    """A search that has ended; a list of points if there are ``configurations``, each repeated."""
    run = Run(folder)
    run.create()
    write_json(run.sweep, _settings(configurations, folds, trials, objectives))
    draws, space = Random(0), ENCODERS.space
    drawn = [space.config(space.sample(draws)) for _ in range(configurations or trials)]
    for number in range(trials):
        params = flatten(drawn[number % len(drawn)]) | {"epochs": epochs}
        if configurations:
            repeat = number // len(drawn)
            params |= {"seed": repeat // max(folds, 1), "fold": repeat % folds if folds else 0}
        last = epochs if configurations or number % 3 == 0 else max(2, epochs * (number % 7) // 7)
        _write_trial(run, f"{number:04d}", params, last, epochs)
    run.note_driver("ends", reason="all trials were tried", whole=True)
    return run


def _settings(
    configurations: int | None, folds: int, trials: int, objectives: tuple[str, ...]
) -> dict[str, Any]:
    ranges = {path: str(d) for path, d in ENCODERS.space.distributions().items()}
    strategy: dict[str, Any] = {"trials": trials, "grace_epochs": 4, "reduction": 3, "seed": 0}
    if configurations:
        repeats = trials // configurations // max(folds, 1)
        strategy = {"kind": "points", "seeds": list(range(repeats)), "folds": folds}
    counts = {"train": {"patients": 88, "slices": 3100}}
    counts["validation"] = {"patients": PATIENTS, "slices": 800}
    return {
        "name": "long",
        "question": "What does a long run cost its readers?",
        "data": {"root": "/data", "fingerprint": "0123456789abcdef", "patients": 110}
        | {"slices": 3929, "tumour_slices": 1373, "made_up": False},
        "split": {"by": "patients", "validation": 0.2, "test": 0.0, "seed": 0, "folds": folds}
        | {"shared_patients": 0, "counts": counts},
        "strategy": strategy,
        "objectives": list(objectives),
        "base": flatten(TrialConfig()),
        "fixed": {},
        "space": {} if configurations else ranges,
        "first": [],
        "baselines": {
            "image_size": 256,
            "predictors": [{"name": "predicts nothing", "scores": NOTHING, "why_not": ""}],
        },
        "made": "2026-12-01T00:00:00+00:00",
        "uid": "3fa9c1d2",
        "command": "python sweeps/encoders.py --data /data",
        "versions": {"python": "3.11"},
    }


def _write_trial(run: Run, name: str, params: Params, last: int, epochs: int) -> None:
    folder = run.trial(name)
    folder.create(params)
    words = configuration_name(build(TrialConfig(), params))
    run.note(name, TrialState.RUNNING, configuration=words, params=params)
    curve = [dice(name, epoch) for epoch in range(1, last + 1)]
    append_line(folder.metrics, *(_row(curve[:epoch]) for epoch in range(1, last + 1)))
    costs = {"start": 0.1, "compile": 0.0, "train": 1.5, "score": 0.5, "keep": 0.1, "devices": 1}
    append_line(folder.costs_path, *({"epoch": e + 1, **costs} for e in range(last)))
    best = _row(curve)
    _write_patients(folder.patients, name, best["best_dice"], int(params["fold"]))
    if last == epochs:
        _write_patients(folder.last, name, curve[-1], int(params["fold"]))
    slices = np.random.default_rng(0).integers(0, 255, (PANELS, 32, 32, 3), np.uint8)
    masks = np.zeros((PANELS, 32, 32), np.uint8)
    masks[:, 8:20, 10:22] = 1
    labels = np.array([f"p{n:02d} slice 3" for n in range(PANELS)])
    np.savez(
        folder.panels, images=slices, truths=masks, predictions=masks[:, ::-1], labels=labels,
        epoch=best["best_epoch"],
    )  # fmt: skip
    changes = {"dice": best["best_dice"], "epoch": last, "best_epoch": best["best_epoch"]}
    state = TrialState.DONE if last == epochs else TrialState.STOPPED
    reason = "" if last == epochs else f"paused at epoch {last} of {epochs}: below its bar"
    run.note(name, state, **changes, device_seconds=2.2 * last, reason=reason)


def _row(curve: list[float]) -> dict[str, Any]:
    """The row of the last epoch of ``curve``."""
    now, best = curve[-1], max(curve)
    return {
        **{"epoch": len(curve), "train_loss": 1 - now / 2, "val_loss": 1 - now, "dice": now},
        **{"iou": now / 2, "micro_dice": now, "micro_iou": now / 2, "tumour_slice_dice": now},
        **{"slice_dice_empty1": 0.9, "false_alarm": 0.1, "milliseconds_per_image": 2.0},
        **{"best_dice": best, "best_epoch": 1 + curve.index(best), "lr": 1e-3, "momentum": 0.9},
        **{"frozen_blocks": 0, "images_per_second": 100.0, "train_seconds": 1.5},
        **{"score_seconds": 0.5, "seconds": 2.0, "devices": 1, "parameters": 3.2e7},
    }


def _write_patients(path: Path, name: str, mean: float, fold: int) -> None:
    noise = 0.05 * np.random.default_rng(int(name)).standard_normal(PATIENTS)
    dice_P = np.clip(mean + noise - noise.mean(), 0, 1)
    patients = [f"fold{fold}-p{n:02d}" for n in range(PATIENTS)]
    table = pd.DataFrame({"patient": patients, "slices": 36, "tumour_slices": 12, "tp": 900})
    table.assign(fp=100, fn=100, dice=dice_P, iou=dice_P / 2).to_csv(path, index=False)
