"""The threshold of a model, chosen on patients that its networks were not trained on.

Of 0.05 to 0.95 in steps of 0.05 one has the highest mean Dice over patients. Taken is the nearest
to 0.5 that is at most one standard error worse, of the difference paired by patient: the rule by
which Breiman et al. (1984, section 3.4.3) choose a tree. So 0.5 stays unless more than chance
speaks against it (docs/log.md, 2026-12-01). Each network scores the patients that
validated its own training: of a search the validation part, in folds those of its fold. A patient
that several networks score, one a seed, counts once, with their mean.

So a threshold of an ensemble is chosen on what its members say one by one, not on their average: on
every patient most of them were trained, and an average that holds such an answer would be surer
than it is on a new patient. A refit validates nobody; it takes the threshold of the configuration
that it trains again.

What a network scored is kept in its trial's folder (threshold.json), so that it is done once.

Shapes: T thresholds, P patients, S slices, B slices at once, N pixels a side.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.evaluation.metrics import Counts, dice, per_patient
from brainseg.inference.description import HALF, Threshold
from brainseg.inference.model import Model
from brainseg.process import Log
from brainseg.records.checkpoint_index import sha256
from brainseg.records.fields import Fields
from brainseg.records.files import Unreadable, read_json, write_json
from brainseg.records.heartbeat import Heartbeat
from brainseg.records.run import Run
from brainseg.training.task import Task
from brainseg.training.trial_data import TrialData

THRESHOLDS = (np.arange(5, 100, 5) / 100).astype(np.float32)  # as probabilities are
ROUNDING = 1e-9  # of a mean Dice
BATCH = 64  # slices whose probabilities are in memory together
GONE = "the data that it would be chosen on could not be read"  # no path: bundles are handed on
FIELDS = Fields(("sha256", "counts"), {"sha256": str, "counts": dict})

PatientCounts = Mapping[str, Counts]  # (T, 3) of each patient: true and false positive, missed


def choose(
    run: Run, trials: Mapping[str, Callable[[], Model]], chosen_on: str, log: Log
) -> Threshold:
    """The threshold of a model whose members are ``trials`` of ``run``; 0.5 without their data.

    Args:
        trials: by name, what gives the member's network as a model of its own.
        chosen_on: which patients these are, in words.
    """
    scored: list[PatientCounts] = []
    try:
        for trial, model in trials.items():
            scored.append(_of_trial(Task(run.path, trial), model, log))
    except (ValueError, OSError) as error:  # the files have gone, or are others by now
        log(f"the threshold is {HALF}, since {GONE}: {error}")
        return Threshold(why=GONE)
    return best(scored, chosen_on)


def best(scored: Sequence[PatientCounts], chosen_on: str) -> Threshold:
    """The best threshold of what networks scored; 0.5 where no patient validated."""
    patients = sorted({patient for counts in scored for patient in counts})
    if not patients:
        return Threshold(why="no patient validated the training")
    dice_PT = np.stack(
        [
            np.mean([dice(counts[patient]) for counts in scored if patient in counts], axis=0)
            for patient in patients
        ]
    )
    mean_T = dice_PT.mean(0)
    good = np.flatnonzero(_not_worse(dice_PT))
    chosen = min(good, key=lambda t: (abs(THRESHOLDS[t] - HALF), t))
    return Threshold(
        value=round(float(THRESHOLDS[chosen]), 2),
        chosen_on=chosen_on,
        patients=len(patients),
        dice=float(mean_T[chosen]),
        dice_at_half=float(mean_T[np.argmin(abs(THRESHOLDS - HALF))]),
    )


def _not_worse(dice_PT: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a threshold is at most one standard error worse than the best; of one patient all."""
    gap_PT = dice_PT - dice_PT[:, [int(dice_PT.mean(0).argmax())]]
    patients = len(gap_PT)
    if patients == 1:
        return np.ones(gap_PT.shape[1], np.bool_)
    error_T = gap_PT.std(0, ddof=1) / np.sqrt(patients)
    return np.asarray(-gap_PT.mean(0) <= error_T + ROUNDING)


def _of_trial(task: Task, model: Callable[[], Model], log: Log) -> PatientCounts:
    """What a trial's network counts on its validation patients at each threshold."""
    kept = task.folder.path / "threshold.json"
    digest = sha256(task.kept_network.read_bytes())
    if (known := _known(kept, digest)) is not None:
        return known
    log(f"chooses a threshold: trial {task.trial} predicts its validation patients")
    counts = _count(task, model(), log)
    with suppress(
        OSError, ValueError
    ):  # a folder that cannot be written to: it is done again next time
        held = {patient: counts_T3.tolist() for patient, counts_T3 in counts.items()}
        write_json(kept, {"sha256": digest, "counts": held})
    return counts


def _known(path: Path, digest: str) -> PatientCounts | None:
    """What was scored before; None if nothing was, or with other weights, or if it is damaged."""
    try:
        held: dict[str, Any] = read_json(path, kind=dict, fields=FIELDS)
        counts = {name: np.asarray(rows, np.int64) for name, rows in held["counts"].items()}
    except (Unreadable, OSError, ValueError, TypeError):
        return None
    shapes = {counts_T3.shape for counts_T3 in counts.values()}
    return counts if held["sha256"] == digest and shapes <= {(len(THRESHOLDS), 3)} else None


def _count(task: Task, model: Model, log: Log) -> PatientCounts:
    heartbeat = Heartbeat(task.folder.heartbeat)  # which nobody beats: the trial has ended
    data = TrialData(Run(task.run), task.config, model.machine, 1, heartbeat, log=log)
    scaling_NC3 = data.scaling_NC3.cpu().numpy()
    counts = []
    for start in range(0, len(data.validation_rows), BATCH):
        rows = data.validation_rows[start : start + BATCH]
        probability_BNN = model.of_squares(data.pack.images_NHWC[rows], scaling_NC3[rows])
        counts += [
            count_above(probability_NN, mask_NN)
            for probability_NN, mask_NN in zip(
                probability_BNN, data.pack.masks_NHW[rows], strict=True
            )
        ]
    if not counts:
        return {}
    patients = [data.patients[row] for row in data.validation_rows]
    totals = per_patient(np.stack(counts).reshape(len(counts), -1), patients)
    return {name: total.reshape(-1, 3) for name, total in totals.items()}


def count_above(probability_NN: NDArray[np.float32], mask_NN: NDArray[np.uint8]) -> Counts:
    """True positive, false positive and missed pixels where a pixel above T is tumour, (T, 3)."""
    below = np.searchsorted(
        THRESHOLDS, probability_NN.ravel(), side="left"
    )  # it lies above so many
    tumour = mask_NN.ravel() > 0
    bins = len(THRESHOLDS) + 1
    hits, extra = (
        np.bincount(below[of], minlength=bins)[::-1].cumsum()[::-1][1:] for of in (tumour, ~tumour)
    )
    return np.stack([hits, extra, tumour.sum() - hits], axis=1).astype(np.int64)
