"""A small made-up run, written through the records' own door."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.written import append_line, write_json

PATIENTS = ("007", "NA", "Łódź, 東京\nsecond line")  # the first has no tumour
NOTHING = {"dice": 1 / 3, "iou": 1 / 3, "micro_dice": 0.0, "slice_dice_empty1": 50 / 60}
HOSTILE = "$\\no$<script>alert('x')</script>&amp;[red],\"a\" 脳"


def begin(folder: Path, **changes: Any) -> Run:
    """A run in which no trial has begun."""
    run = Run(folder)
    sweep = {
        "name": "encoders",
        "question": "Which encoder?",
        "data": {
            "root": "/data/my scans",
            "fingerprint": "0123456789abcdef",
            "patients": 10,
            "slices": 200,
            "tumour_slices": 70,
            "made_up": False,
        },
        "split": {
            "by": "patients",
            "validation": 0.2,
            "test": 0.1,
            "seed": 0,
            "shared_patients": 0,
            "counts": {
                "test": {"patients": 1, "slices": 20},
                "train": {"patients": 6, "slices": 120},
                "validation": {"patients": 3, "slices": 60},
            },
        },
        "strategy": {"grace_epochs": 4, "reduction": 3, "seed": 0},
        "base": flatten(TrialConfig()),
        "fixed": {},
        "space": {"optimizer.adamw.lr": "LogUniform(low=0.0001, high=0.005)"},
        "first": [],
        "baselines": {
            "image_size": 256,
            "predictors": [
                {"name": "predicts nothing", "scores": NOTHING, "why_not": ""},
                {"name": "copies the nearest slice", "scores": {}, "why_not": "there is none"},
            ],
        },
        "made": "2026-11-22T11:25:18+00:00",
        "uid": "3fa9c1d2",
        "command": "python sweeps/encoders.py --data '/data/my scans'",
        "versions": {"python": "3.11.2", "torch": "2.11.0"},
    }
    write_json(run.sweep, sweep | changes)
    return run


def train(run: Run, trial: str, dice: list[float], params: Params | None = None) -> None:
    """Rows of one epoch each, and the per-patient table and panels of the best of them."""
    config = build(TrialConfig(), params or {})
    folder, best_epoch = run.trial(trial), int(np.argmax(dice)) + 1
    run.note(trial, "running", configuration=configuration_name(config), params=flatten(config))
    for epoch, score in enumerate(dice, start=1):
        so_far = dice[:epoch]
        row = {"epoch": epoch, "seconds": 30.0, "devices": 2, "train_loss": 1 - score / 2}
        row |= {"val_loss": 1 - score, "dice": score, "iou": score / 2, "micro_dice": score / 3}
        row |= {"tumour_slice_dice": score / 4, "slice_dice_empty1": 0.9, "false_alarm": 0.1}
        row |= {"lr": 1e-3, "best_dice": max(so_far), "best_epoch": int(np.argmax(so_far)) + 1}
        append_line(folder.metrics, row)
    dice_P = np.clip(max(dice) + np.array([0.1, 0.0, -0.1]), 0, 1)
    counts = {"tp": [0, 50, 40], "fp": [0, 5, 5], "fn": [0, 10, 20]}
    sizes = {"patient": PATIENTS, "slices": 20, "tumour_slices": [0, 6, 4]}
    table = pd.DataFrame({**sizes, **counts, "dice": dice_P, "iou": dice_P / 2})
    table.to_csv(folder.patients, index=False)
    table.assign(dice=np.clip(dice_P - max(dice) + dice[-1], 0, 1)).to_csv(folder.last, index=False)
    paint(run, trial, labels=[f"{patient} slice 3" for patient in PATIENTS], epoch=best_epoch)


def paint(run: Run, trial: str, labels: list[str], epoch: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 16, 24, 3), np.uint8)
    masks = np.zeros((len(labels), 16, 24), np.uint8)
    masks[1:, 4:8, 5:9] = 1
    np.savez(run.trial(trial).panels, images=images, truths=masks, predictions=masks[::-1],
             labels=np.array(labels), epoch=epoch)  # fmt: skip


def end(run: Run, trial: str, state: Any, reason: str = "") -> None:
    rows = run.trial(trial).rows()
    best = max(rows, key=lambda row: row.dice) if rows else None
    run.note(trial, state, dice=best and best.dice, epoch=len(rows),
             best_epoch=best.epoch if best else 0,
             device_seconds=60.0 * len(rows), reason=reason)  # fmt: skip


def four_trials(folder: Path) -> Run:
    """One stopped early, the best, one that failed with a high score, one running."""
    run = begin(folder)
    train(run, "0000", [0.3, 0.4], {"model": "plain"})
    end(run, "0000", "stopped", "at epoch 2 it fell behind")
    train(run, "0001", [0.5, 0.8, 0.7], {"model.encoder.name": "vgg16"})
    end(run, "0001", "done")
    train(run, "0002", [0.9], {"optimizer": "sgd", "optimizer.sgd.lr": 0.3})
    end(run, "0002", "failed", f"not finite on {HOSTILE}")
    train(run, "0003", [0.6, 0.5])
    return run


def in_folds(folder: Path, dice: dict[str, list[list[float]]]) -> Run:
    """A sweep in two folds: of each encoder, by seed, the last Dice in either fold."""
    run = begin(folder / "run")
    sweep = read_json(run.sweep)
    counts = {"test": {"patients": 1, "slices": 20}, "fold 0": {"patients": 3, "slices": 60}}
    begin(
        run.path,
        strategy={"kind": "points", "seeds": [0, 1], "folds": 2},
        split=sweep["split"] | {"folds": 2, "counts": counts},
    )
    for name, seeds in dice.items():
        for seed, folds in enumerate(seeds):
            for fold, last in enumerate(folds):
                trial = f"{len(run.trials()):04d}"
                point: Params = {"model.encoder.name": name, "seed": seed, "fold": fold}
                train(run, trial, [last + 0.05, last], point)
                table = pd.read_csv(run.trial(trial).last, dtype={"patient": str})
                names = [f"fold {fold} {patient}" for patient in PATIENTS]
                table.assign(patient=names).to_csv(run.trial(trial).last, index=False)
                end(run, trial, "done")
    return run
