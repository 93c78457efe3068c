"""One reader for texts and one for JSON: whatever is wrong, one sentence says of which file."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from brainseg.records.fields import Fields
from brainseg.records.files import (
    Unreadable,
    append_line,
    read_json,
    read_lines,
    read_text,
    write_json,
    write_text,
)
from tests.support.tables import refused


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"a": 1', "it is no JSON (Expecting ',' delimiter: line 1 column 8 (char 7))"),
        (b'"\xff"', "its byte 2 is no UTF-8"),
        (b"[1]", "it holds no object"),
        (b"{}", "it lacks a, b"),
        (b'{"a": null, "b": 1}', "it lacks a"),
    ],
)
def test_json_that_is_not_what_it_should_be_is_named(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(content)
    said = refused(
        lambda: read_json(path, kind=dict, fields=Fields(("a", "b")), remedy="take another")
    )
    assert said == f"{path} cannot be read: {fault}; take another"


def test_each_item_of_a_list_has_the_fields(tmp_path: Path) -> None:
    path, fields = tmp_path / "value.json", Fields(("a",))
    for items, fault in (([{"a": 1}, {}], "it lacks a"), ([{"a": 1}, 3], "it is no JSON object")):
        write_json(path, items)
        assert fault in refused(lambda: read_json(path, kind=list, fields=fields))
    assert "it holds no list" in refused(lambda: read_json(_written(path, {}), kind=list))


def _written(path: Path, value: Any) -> Path:
    write_json(path, value)
    return path


def test_what_stands_in_a_file_s_place_is_named_but_a_storage_that_is_away_is_not_blamed_on_it(
    tmp_path: Path,
) -> None:
    assert "it is missing; restore" in refused(lambda: read_text(tmp_path / "no"))
    assert "it is a folder; restore" in refused(lambda: read_text(tmp_path))
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "away" / "file")


def test_what_is_wrong_with_a_file_reaches_another_process(tmp_path: Path) -> None:
    error = Unreadable(tmp_path, "it is empty", "remove it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_that_json_does_not_have_is_written_and_its_place_is_named(
    tmp_path: Path, number: float
) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    value = {"ok": 0.5, "scores": [{"dice": 0.5}, {"dice": number}], "lr": number}
    rule = "must hold finite numbers only"
    said = refused(lambda: write_json(path, value))
    assert said == (
        f"value.json {rule}, scores.1.dice is {number}, lr is {number}; JSON has no other"
    )
    assert read_json(path) == {"a": 1}
    rows = tmp_path / "rows.jsonl"
    append_line(rows, {"epoch": 1})
    assert f"rows.jsonl {rule}, dice is {number}" in refused(
        lambda: append_line(rows, {"dice": number})
    )
    assert read_lines(rows) == [{"epoch": 1}]


def test_what_is_no_json_at_all_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"a": object()})
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises((ValueError, RecursionError)):
        write_json(tmp_path / "value.json", loop)
    assert not list(tmp_path.iterdir())


def test_a_folder_where_a_file_should_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.mkdir()
    rule = f"{path} must be a file, it is a folder; remove or rename it"
    assert refused(lambda: write_text(path, "new")) == rule
    assert refused(lambda: append_line(path, {})) == rule
    assert list(tmp_path.iterdir()) == [path]


def test_rows_that_lack_a_field_or_hold_another_kind_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"epoch": 1}, {"epoch": None}, {})))
    assert len(read_lines(path)) == 3
    required, whole = Fields(("epoch",)), Fields(("epoch",), {"epoch": str})
    assert len(read_lines(path, required)) == 1
    append_line(path, {"epoch": 2})
    said = refused(lambda: read_lines(path, required))
    assert "its line 2 lacks epoch; restore it from a copy, or remove that line" in said
    said = refused(lambda: read_lines(path, whole))
    assert "its line 1 has 1 as its epoch, not text; restore it from a copy" in said


def test_a_field_within_a_field_is_named_in_full(tmp_path: Path) -> None:
    fields = Fields(("data",), {"data": dict, "data.made_up": bool, "data.slices": int})
    path = tmp_path / "sweep.json"
    for value, fault in (
        ({"data": {"slices": 3}}, ""),
        ({"data": {"slices": "3"}}, "it has '3' as its data.slices, not a whole number; "),
        ({"data": {"made_up": []}}, "it has [] as its data.made_up, not true or false; "),
        ({"data": "x" * 99}, f"it has '{'x' * 36}... as its data, not an object; "),
        ([], "it holds no object; "),
    ):
        write_json(path, value)
        if fault:
            assert fault in refused(lambda: read_json(path, kind=dict, fields=fields))
        else:
            assert read_json(path, kind=dict, fields=fields) == value
