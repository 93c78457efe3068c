"""Words left in a folder: read by who shares it, gone afterwards."""

from pathlib import Path

import pytest

from brainseg.doctor import shared_folder
from brainseg.doctor.shared_folder import answered, heard, left_below


def test_who_shares_the_folder_is_heard(tmp_path: Path) -> None:
    with left_below(tmp_path) as (folder, word):
        name, why = answered(folder, word)
        assert not why
        assert heard(folder, word, name)


def test_afterwards_nothing_is_left(tmp_path: Path) -> None:
    with left_below(tmp_path / "not" / "yet") as (folder, word):
        answered(folder, word)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_with_all_that_is_in_it(tmp_path: Path) -> None:
    tmp_path.joinpath("runs").mkdir()
    tmp_path.joinpath("runs", "results.csv").write_text("dice")
    with left_below(tmp_path / "runs"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "results.csv"]


def test_nothing_is_left_when_the_look_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), left_below(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_who_has_another_folder_at_that_path_does_not_see_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "PATIENCE_SECONDS", 0.3)
    with left_below(tmp_path / "one") as (folder, word):
        elsewhere = folder.replace("/one/", "/two/")
        assert answered(elsewhere, word) == ("", "does not see what the driver wrote there")
        assert not heard(folder, word, "never-written")


def test_where_the_driver_cannot_write_it_is_an_error(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")
    with pytest.raises(OSError, match="Not a directory"), left_below(tmp_path / "file"):
        pass
