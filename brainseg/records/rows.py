"""One line of a trial's metrics.jsonl: what was measured in an epoch, and what each column means.

Training, the search, the report's legend and the names of W&B's curves all take the meaning of a
column from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from brainseg.records.fields import OPTIONAL_NUMBER, Fields


@dataclass(frozen=True)
class Column:
    """What a column holds, and what it is called where people read it."""

    meaning: str
    head: str = ""  # above it in the report's tables
    group: str = ""  # of its curve in W&B: train/loss, val/dice; "" for a curve by itself


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """An epoch of one trial. Scores are of the validation slices, after the epoch.

    None: the version of brainseg that wrote the line had no such column, or nobody validated.
    """

    epoch: Annotated[int, Column("Epochs finished, this one included.")]
    train_loss: Annotated[float | None, Column("Mean loss of the steps.", group="train")] = None
    val_loss: Annotated[float | None, Column("Loss of all slices.", group="val")] = None
    dice: Annotated[  # NaN where nobody validated
        float,
        Column(
            "The score that ranks. Per patient, over all slices at once, 2tp / (2tp + fp + fn) in "
            "pixels; then the mean over patients. A patient without tumour counts 1 if nothing is "
            "predicted, else 0.",
            head="Dice",
            group="val",
        ),
    ] = nan
    iou: Annotated[
        float | None, Column("The same with tp / (tp + fp + fn).", head="IoU", group="val")
    ] = None
    micro_dice: Annotated[
        float | None,
        Column(
            "2tp / (2tp + fp + fn) over the pixels of all patients together.",
            head="micro Dice",
            group="val",
        ),
    ] = None
    micro_iou: Annotated[
        float | None,
        Column(
            "tp / (tp + fp + fn) over the pixels of all patients together.",
            head="micro IoU",
            group="val",
        ),
    ] = None
    tumour_slice_dice: Annotated[
        float | None,
        Column(
            "Mean slice Dice over the slices that have tumour.", head="tumour slices", group="val"
        ),
    ] = None
    slice_dice_empty1: Annotated[
        float | None,
        Column(
            "Mean slice Dice over all slices, an empty slice left empty counting 1. Many "
            "notebooks report it; predicting nothing scores high in it, see below the ranking.",
            head="empty = 1",
            group="val",
        ),
    ] = None
    false_alarm: Annotated[
        float | None,
        Column(
            "Share of the slices without tumour in which some is predicted; less is better.",
            head="false alarm",
            group="val",
        ),
    ] = None
    milliseconds_per_image: Annotated[
        float | None, Column("To segment one slice while validating, on one device.")
    ] = None
    best_dice: Annotated[float | None, Column("The highest Dice of any epoch so far.")] = None
    best_epoch: Annotated[int, Column("The epoch of the highest Dice so far.")] = 0
    lr: Annotated[float | None, Column("Learning rate of the last step.")] = None
    momentum: Annotated[
        float | None, Column("SGD's momentum, or Adam's beta1, in the last step.")
    ] = None
    attempt: Annotated[
        int | None,
        Column("2 from the epoch on that was trained again, since the training loss broke."),
    ] = None
    repeats: Annotated[
        int | None,
        Column("How often it was trained before and lost: no checkpoint held it."),
    ] = None
    frozen_blocks: Annotated[
        int | None, Column("How many of the encoder's first blocks were frozen.")
    ] = None
    images_per_second: Annotated[
        float | None, Column("Images trained on per second, by all devices together.")
    ] = None
    train_seconds: Annotated[float | None, Column("Seconds of all training steps.")] = None
    score_seconds: Annotated[float | None, Column("Seconds of validation.")] = None
    seconds: Annotated[float, Column("Seconds to train and to validate.")]
    start_seconds: Annotated[
        float | None,
        Column("Seconds before its first step, in the first epoch after a start or a resume."),
    ] = None
    devices: Annotated[int, Column("GPUs, or CPU workers, that trained it together.")] = 1
    micro_batch: Annotated[
        int | None,
        Column("Images at once, on each device, where memory did not hold a whole batch."),
    ] = None
    parameters: Annotated[float | None, Column("Parameters of the network.")] = None
    later: Mapping[str, Any] = field(default_factory=dict)  # columns of a later version

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "EpochRow":
        """The row that ``line`` holds; a null counts as a column that is not there."""
        known = {name: line[name] for name in columns() if line.get(name) is not None}
        return cls(**known, later={k: v for k, v in line.items() if k not in columns()})

    def to_json(self) -> dict[str, Any]:
        """The line, without the columns that this row does not have."""
        values = {name: getattr(self, name) for name in columns()}
        if isnan(self.dice):
            del values["dice"]
        return {name: v for name, v in values.items() if v is not None} | dict(self.later)

    @property
    def device_seconds(self) -> float:
        """Seconds to train and to validate, over all devices."""
        return self.seconds * self.devices

    def number(self, name: str) -> float:
        """The value of column ``name``; NaN where the row does not have it."""
        value = self.to_json().get(name)
        return nan if value is None else float(value)


@cache
def columns() -> Mapping[str, Column]:
    """Every column by its name, in the order in which they stand on disk."""
    hints = get_type_hints(EpochRow, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if name != "later"}


def objective_values(
    objectives: Sequence[str], last: EpochRow, device_seconds: float, metrics: Path
) -> tuple[float, ...]:
    """A trial's value in each of ``objectives``, from the last row of ``metrics`` and its costs."""
    values = {"dice": last.number("best_dice"), "device_seconds": device_seconds}
    return tuple(
        values[aim] if aim in values else objective_value(last, aim, metrics) for aim in objectives
    )


def objective_value(row: EpochRow, aim: str, metrics: Path) -> float:
    value = row.number(aim)
    if isnan(value):
        raise ValueError(
            f"an objective must be a column of metrics.jsonl, {metrics} has no {aim}; it was "
            "written by an earlier version: train the trial again"
        )
    return value


def _fields() -> Fields:
    """What a line must hold; a null counts as a column that is not there."""
    kinds = dict.fromkeys(columns(), OPTIONAL_NUMBER)
    hints = get_type_hints(EpochRow)
    whole = [name for name in columns() if hints[name] in (int, int | None)]
    scores = [name for name, column in columns().items() if column.group == "val"]
    return Fields(
        ("epoch", "seconds"),
        kinds | dict.fromkeys(whole, int | None),
        due={name: "dice" for name in (*scores, "best_dice") if name != "dice"},
    )


ROW_FIELDS = _fields()
