"""A trial whose folder or cache fails has not failed itself."""

from pathlib import Path

import pytest
import torch

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.records.files import read_lines
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.storage import StorageFault, storage_faults
from brainseg.training.trial import run_trial
from tests.support.tasks import task_of

CONFIG = TrialConfig(model=Plain(width=4, depth=1), image_size=16, batch_size=8, epochs=3)


def nothing(row: EpochRow) -> None:
    """Whoever follows the trial."""


def test_a_cache_that_cannot_be_used_is_no_failure_of_the_trial(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    cache.write_text("no folder")
    monkeypatch.setenv("BRAINSEG_CACHE", str(cache))
    task = task_of(run, "0000", CONFIG)
    with pytest.raises(StorageFault, match="set BRAINSEG_CACHE to another"):
        run_trial(task, nothing, torch.device("cpu"))
    assert not task.folder.failure.exists()


def test_a_run_that_is_moved_away_is_not_made_again_and_resumes_where_it_was(
    run: Run, tmp_path: Path
) -> None:
    task = task_of(run, "0000", CONFIG)
    moved = tmp_path / "moved"

    def move(row: EpochRow) -> None:
        run.path.rename(moved)

    with pytest.raises(StorageFault, match="it is no longer there"), storage_faults(run.path):
        run_trial(task, move, torch.device("cpu"))
    assert not run.path.exists()
    moved.rename(run.path)
    run_trial(task, nothing, torch.device("cpu"))
    assert [row["epoch"] for row in read_lines(task.folder.metrics)] == [1, 2, 3]
    assert not task.folder.failure.exists()
