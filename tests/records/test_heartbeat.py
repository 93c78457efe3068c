"""A trial that works through an epoch shows it in its folder."""

import os
from pathlib import Path

import pytest

from brainseg.records.files import append_line
from brainseg.records.heartbeat import Heartbeat
from brainseg.records.trial_folder import TrialDir


def test_the_first_beat_leaves_a_file_and_the_next_within_seconds_none(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path / "heartbeat")
    heartbeat.beat()
    os.utime(heartbeat.path, (1, 1))
    heartbeat.beat()
    assert heartbeat.path.stat().st_mtime == 1


def test_a_folder_that_is_gone_is_no_reason_to_stop_training(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "gone" / "heartbeat").beat()


@pytest.mark.parametrize("file", ["starts", "metrics", "costs_path", "heartbeat"])
def test_whatever_a_trial_writes_as_it_gets_on_changes_its_marks(tmp_path: Path, file: str) -> None:
    folder = TrialDir(tmp_path)
    before = folder.progress_marks()
    assert before == folder.progress_marks()
    append_line(getattr(folder, file), {"epoch": 1})
    assert folder.progress_marks() != before
