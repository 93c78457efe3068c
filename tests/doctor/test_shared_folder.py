"""A word written into a folder: machines that share it can read it, and it is gone afterwards."""

from pathlib import Path

import pytest

from brainseg.doctor import shared_folder
from brainseg.doctor.shared_folder import answer, leave_word, reads_back


def test_a_machine_that_shares_the_folder_answers_there(tmp_path: Path) -> None:
    with leave_word(tmp_path) as (folder, word):
        name, why = answer(folder, word)
        assert not why
        assert reads_back(folder, word, name)


def test_no_file_or_folder_is_left_afterwards(tmp_path: Path) -> None:
    with leave_word(tmp_path / "not" / "yet") as (folder, word):
        answer(folder, word)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_with_all_that_is_in_it(tmp_path: Path) -> None:
    tmp_path.joinpath("runs").mkdir()
    tmp_path.joinpath("runs", "results.csv").write_text("dice")
    with leave_word(tmp_path / "runs"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "results.csv"]


def test_nothing_is_left_when_the_check_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), leave_word(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_machine_with_another_folder_at_that_path_does_not_see_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "PATIENCE_SECONDS", 0.3)
    with leave_word(tmp_path / "one") as (folder, word):
        elsewhere = folder.replace("/one/", "/two/")
        assert answer(elsewhere, word) == ("", "does not see what the driver wrote there")
        assert not reads_back(folder, word, "never-written")


def test_where_the_driver_cannot_write_it_is_an_error(tmp_path: Path) -> None:
    tmp_path.joinpath("file").write_text("")
    with pytest.raises(OSError, match="Not a directory"), leave_word(tmp_path / "file"):
        pass
