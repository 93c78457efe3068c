"""Subgroups as a file of their own and as a section of the page, marked as exploratory."""

from pathlib import Path

import pandas as pd
import pytest

from brainseg.cli.main import main
from tests.support.confirm_run import three_configurations
from tests.support.grouped_run import by_site
from tests.support.reports import Tags, written


def test_compare_writes_a_row_a_configuration_of_each_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = by_site(tmp_path, "A" * 12 + "B" * 5)
    main(["compare", str(run.path)])
    assert str(run.path / "subgroups.csv") in capsys.readouterr().out
    rows = pd.read_csv(run.path / "subgroups.csv")
    assert rows["kind"].tolist() == ["site"] * 4 + ["tumour size"] * 6
    assert (rows["exploratory"] == "not corrected").all() and not rows["leaks"].any()
    few = rows["patients"] < 6
    assert rows.loc[few, "difference_low"].isna().all() and rows.loc[few, "dice"].notna().all()
    assert rows.loc[~few, ["difference_low", "dice_high"]].notna().all(axis=None)


def test_the_page_shows_them_as_exploratory(tmp_path: Path) -> None:
    tags = Tags(written(by_site(tmp_path, "A" * 12 + "B" * 5)))
    assert "subgroups" in tags.ids
    text = " ".join(tags.text.split())
    assert "Exploratory: nobody chose these groups beforehand" in text
    assert "A12 resnet50" in text and "B5 resnet50" in text
    assert "nan" not in text


def test_nothing_is_shown_where_there_is_nothing_to_divide_by(tmp_path: Path) -> None:
    run = three_configurations(tmp_path)
    main(["compare", str(run.path)])
    assert not (run.path / "subgroups.csv").exists()
    assert "subgroups" not in Tags(written(run)).ids
