"""A line of metrics.jsonl is read and written back alike, whichever version wrote it."""

import json
import math

import numpy as np
import pytest

from brainseg.evaluation.metrics import summary
from brainseg.records.rows import EpochRow, columns

LINE = {  # as versions since the first write it, in their order
    "epoch": 3,
    "train_loss": 0.5,
    "val_loss": 0.75,
    "dice": 0.25,
    "iou": 0.2,
    "micro_dice": 0.3,
    "micro_iou": 0.1,
    "tumour_slice_dice": 0.0,
    "slice_dice_empty1": 0.9,
    "false_alarm": 1.0,
    "milliseconds_per_image": 4.0,
    "best_dice": 0.5,
    "best_epoch": 2,
    "lr": 1e-3,
    "momentum": 0.9,
    "attempt": 2,
    "repeats": 1,
    "frozen_blocks": 0,
    "images_per_second": 100.0,
    "train_seconds": 2.0,
    "score_seconds": 1.0,
    "seconds": 3.0,
    "start_seconds": 7.0,
    "devices": 2,
    "micro_batch": 8,
    "parameters": 11_000_000,
}
FIRST_VERSION = {"epoch": 3, "dice": 0.25, "seconds": 3.0, "devices": 1}


def test_a_line_is_written_back_as_it_was_read_in_the_same_order() -> None:
    assert json.dumps(EpochRow.from_json(LINE).to_json()) == json.dumps(LINE)
    assert list(columns()) == list(LINE)


def test_a_column_that_an_earlier_version_did_not_have_is_not_made_up() -> None:
    row = EpochRow.from_json(FIRST_VERSION)
    assert row.parameters is None and math.isnan(row.number("parameters"))
    assert row.to_json().items() <= (FIRST_VERSION | {"best_epoch": 0}).items()


def test_what_an_earlier_version_left_out_has_the_value_that_it_had_then() -> None:
    row = EpochRow.from_json({"epoch": 3, "dice": 0.25, "seconds": 3.0})
    assert (row.devices, row.device_seconds) == (1, 3.0)
    assert EpochRow.from_json(LINE).device_seconds == 6.0


def test_columns_of_a_later_version_are_kept() -> None:
    row = EpochRow.from_json(LINE | {"hd95": 4.5, "sites": {"a": 1}})
    assert row.later == {"hd95": 4.5, "sites": {"a": 1}} and math.isnan(row.number("lesions"))
    assert row.to_json() == LINE | {"hd95": 4.5, "sites": {"a": 1}}
    assert row.number("hd95") == 4.5


@pytest.mark.parametrize("value", [math.nan, None])
def test_neither_nan_nor_null_hides_another_value(value: float | None) -> None:
    row = EpochRow.from_json(
        LINE
        | {
            "val_loss": value,
        }
    )
    assert (row.dice, row.train_loss) == (0.25, 0.5)
    assert math.isnan(row.number("val_loss"))
    assert EpochRow.from_json({**FIRST_VERSION, "devices": None}).devices == 1


def test_a_nan_that_was_measured_is_written_as_one() -> None:
    row = EpochRow.from_json(json.loads(json.dumps(LINE | {"val_loss": math.nan})))
    assert '"val_loss": NaN' in json.dumps(row.to_json())


def test_every_score_has_its_column_and_every_column_its_meaning() -> None:
    scores = summary(np.array([[1, 2, 3]]), ["one"])
    assert scores.keys() <= columns().keys()
    assert all(columns()[score].head and columns()[score].group == "val" for score in scores)
    assert all(column.meaning.endswith(".") for column in columns().values())
