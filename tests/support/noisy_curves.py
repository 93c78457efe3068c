"""Trainings of two configurations of equal worth: the Dice of one is noisy from epoch to epoch.

Shapes: E epochs, P patients.
"""

from functools import cache

import pandas as pd
from numpy.random import Generator

from brainseg.analysis.estimate import Floats
from brainseg.analysis.snapshot import TrialSnapshot
from brainseg.config.distributions import Params
from brainseg.config.hyperparameters import TrialConfig, configuration_name
from brainseg.config.schema import build, flatten
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run, TrialRecord
from brainseg.records.trial_state import TrialState

NOISE = {"constant": 0.06, "cosine": 0.01}  # of an epoch's Dice, the same for all its patients
PATIENTS, EPOCHS = 20, 12


def noisy_and_calm(rng: Generator, run: Run, *, folds: int, seeds: int) -> dict[str, TrialSnapshot]:
    """A study of both schedules; every seed cuts the patients into folds of its own."""
    trials = {}
    worth_P = rng.beta(8, 3, PATIENTS)
    own_P = {schedule: worth_P + 0.05 * rng.standard_normal(PATIENTS) for schedule in NOISE}
    for seed in range(seeds):
        order_P = rng.permutation(PATIENTS)
        for fold in range(max(folds, 1)):
            held = order_P[fold :: max(folds, 1)]
            for schedule in NOISE:
                name = f"{len(trials):04d}"
                dice_EP = _epochs(rng, own_P[schedule][held], NOISE[schedule])
                params = {**_params(schedule), "seed": seed, "fold": fold}
                trials[name] = _snapshot(run, name, params, [f"p{n}" for n in held], dice_EP)
    return trials


def _epochs(rng: Generator, worth_P: Floats, noise: float) -> Floats:
    luck = 0.01 * rng.standard_normal()
    shared_E = noise * rng.standard_normal((EPOCHS, 1))
    rest_EP = 0.03 * rng.standard_normal((EPOCHS, len(worth_P)))
    return (worth_P + luck + shared_E + rest_EP).clip(0, 1)


@cache
def _params(schedule: str) -> Params:
    return dict(flatten(build(TrialConfig(), {"schedule": schedule})))


def _snapshot(
    run: Run, name: str, params: Params, patients: list[str], dice_EP: Floats
) -> TrialSnapshot:
    mean_E = dice_EP.mean(1)
    record = TrialRecord(
        trial=name,
        state=TrialState.DONE,
        configuration=configuration_name(TrialConfig()),
        params=params,
        dice=float(mean_E.max()),
    )
    rows = [
        EpochRow(epoch=epoch, dice=dice, seconds=1.0)
        for epoch, dice in enumerate(mean_E.tolist(), start=1)
    ]
    return TrialSnapshot(
        folder=run.trial(name),
        record=record,
        rows=rows,
        costs=[],
        patients=pd.DataFrame({"patient": patients, "dice": dice_EP[mean_E.argmax()]}),
        last=pd.DataFrame({"patient": patients, "dice": dice_EP[-1]}),
        audit=[],
        notes=[],
    )
