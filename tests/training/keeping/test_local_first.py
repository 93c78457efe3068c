"""Where the run's folder is on a network, a checkpoint on its way there is not lost."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from brainseg.records.checkpoint_index import newest_epoch
from brainseg.records.run import Run
from brainseg.training.keeping import checkpoint
from brainseg.training.keeping.local_first import (
    adopt,
    file_system,
    near_folder,
    write_near,
)
from brainseg.training.trial import run_trial
from tests.support.killed import killed_before
from tests.support.tasks import task_of
from tests.support.trials import CPU, TINY, network_of, nothing, trained, untimed

CONFIG = replace(TINY, epochs=3)


def test_only_a_run_on_a_network_has_its_checkpoints_written_to_a_local_cache_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("BRAINSEG_CACHE", str(cache))

    def types(shared: str, local: str):  # type: ignore[no-untyped-def]
        return lambda path: local if path == cache else shared

    near = near_folder(run.path, "0007", types("nfs4", "ext4"))
    assert near and near.is_relative_to(cache / "checkpoints") and near.name == "0007"
    assert near_folder(run.path, "0007", types("ext4", "ext4")) is None
    assert near_folder(run.path, "0007", types("nfs4", "nfs4")) is None
    assert near_folder(run.path, "0007", types("", "ext4")) is None
    assert file_system(Path("/proc")) == "proc" and file_system(tmp_path / "not there yet")


def test_killed_on_its_way_to_the_run_s_folder_a_checkpoint_is_taken_from_the_local_disk(
    run: Run, tmp_path: Path
) -> None:
    whole, near = trained(run, "whole", CONFIG, nothing), tmp_path / "near"
    folder = run.trial("t")
    killed_before(run, "t", CONFIG, str(folder.path / "latest-0002.pt"), near)
    assert newest_epoch(folder.path) == 1 and newest_epoch(near) == 2
    run_trial(task_of(run, "t", CONFIG, first_to=near), nothing, CPU)
    assert folder.notes() == [] and not near.exists()
    assert [row.repeats for row in folder.rows()] == [None] * 3
    assert [untimed(row) for row in folder.rows()] == [untimed(row) for row in whole.rows()]
    kept = network_of(folder.best_network)
    for name, tensor in network_of(whole.best_network).items():
        assert torch.equal(tensor, kept[name]), name


def test_a_local_checkpoint_of_another_course_damaged_or_of_another_trial_is_removed(
    tmp_path: Path,
) -> None:
    folder, near = tmp_path / "folder", tmp_path / "near"
    folder.mkdir()
    state = {"network": {"w": torch.ones(3)}, "optimizer": {}, "epoch": 2}
    checkpoint.save_latest(folder, 2, state)

    def left(epoch: int) -> None:
        write_near(near, folder, folder / "best.pt", {}, {**state, "epoch": epoch})

    def look(foreign: str = "") -> None:
        adopt(near, folder, folder / "best.pt", lambda state: foreign)
        assert not near.exists()

    left(5)
    checkpoint.save_latest(folder, 4, {**state, "epoch": 4})  # elsewhere it went on from 2
    held = (folder / "latest-0004.pt").read_bytes()
    look()
    assert newest_epoch(folder) == 4
    left(5)
    look(foreign="is of another trial")
    left(5)
    (near / "latest-0005.pt").write_bytes(b"cut")
    look()
    assert newest_epoch(folder) == 4 and (folder / "latest-0004.pt").read_bytes() == held
    left(5)
    look()
    assert newest_epoch(folder) == 5 and checkpoint.newest(folder).state["epoch"] == 5
