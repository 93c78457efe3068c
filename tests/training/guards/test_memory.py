"""Where memory is short, batches go in smaller parts; where that does not help, the trial fails."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from brainseg.config.hyperparameters import Plain
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.guards import memory
from brainseg.training.trial import run_trial
from tests.support.short_memory import limit
from tests.support.tasks import task_of
from tests.support.trials import CPU, TINY, nothing, trained
from tests.support.written import new_run

WIDE = Plain(width=16, depth=2, dropout=0.0, norm="none")
CONFIG = replace(TINY, model=WIDE, image_size=128, batch_size=16, epochs=1)
# Without it, memory that is given back stays in the process, and counts towards its limit.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}


def with_megabytes(run: Run, trial: str, megabytes: int, *, pixels: int = 128) -> TrialDir:
    """Train in a process that may take so much more address space than a small trial takes."""
    task_of(run, trial, replace(CONFIG, image_size=pixels))
    command = [sys.executable, "-m", "tests.support.short_memory", str(run.path), trial]
    done = subprocess.run(
        [*command, str(megabytes)],
        env={**os.environ, **GIVING_BACK},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return run.trial(trial)


def halvings(folder: TrialDir) -> list[str]:
    """The notes of smaller parts; another may say that memory was short to measure what is fast."""
    return [note for note in folder.notes() if note.startswith("batch")]


def assert_alike(expected: TrialDir, folder: TrialDir) -> None:
    """But for roundings: where memory is short, a step may be computed in another way."""
    for row, other in zip(folder.rows(), expected.rows(), strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert row.dice == pytest.approx(other.dice, abs=1e-3)


def test_a_batch_for_which_memory_is_short_is_trained_in_parts_and_this_is_recorded(
    run: Run,
) -> None:
    for megabytes in (300, 280, 260, 240, 220, 200, 180):  # from too much to too little
        folder = with_megabytes(run, f"t{megabytes}", megabytes)
        if notes := halvings(folder):
            break
    assert folder.ending().reason == ""
    (note,) = notes
    assert note.startswith("batch 16 as 2 x 8 for want of RAM: 0.0"), note
    assert "more were asked for" in note and "are available" in note
    assert [row.micro_batch for row in folder.rows()] == [8]
    whole = trained(run, "whole", CONFIG, nothing)
    assert_alike(whole, folder)
    (run.path / "trials" / "same").mkdir()
    (run.path / "trials" / "same" / "parts").write_text("2\n")
    same = trained(run, "same", CONFIG, nothing)
    assert_alike(same, folder)


def test_a_trial_that_fits_in_no_part_fails_with_the_figures(run: Run) -> None:
    folder = with_megabytes(run, "t", 120, pixels=256)
    ending = folder.ending()
    assert ending.state == "failed"
    assert ending.reason.startswith("out of memory with 4 of 16 images at once (RAM: 0.0")
    assert "try a smaller image_size, batch_size or network" in ending.reason
    assert [note.split(" for want")[0] for note in halvings(folder)] == [
        "batch 16 as 2 x 8",
        "batch 16 as 4 x 4",
    ]
    (first, *_) = folder.notes()
    assert first.startswith("computes in plain float32, for want of memory to measure")


def join(rank: int, world: int, meeting: str, run: Path, megabytes: int) -> None:
    """Train as one of several; the memory of the last of them is short."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    run_trial(task_of(Run(run), "warm", replace(CONFIG, batch_size=2, image_size=64)), nothing, CPU)
    if megabytes and rank == world - 1:
        limit(megabytes)
    run_trial(task_of(Run(run), "t", replace(CONFIG, image_size=256)), nothing, CPU)
    dist.destroy_process_group()


@pytest.mark.cluster
def test_one_worker_that_is_short_of_memory_sends_all_of_them_back_with_smaller_parts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GIVING_BACK.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(mp.ProcessRaisedException, match=r"out of RAM: .* starts again in smaller"):
        mp.spawn(join, (2, str(tmp_path / "first"), run.path, 120), nprocs=2)
    folder = run.trial("t")
    assert folder.rows() == [] and not folder.failure.exists()
    mp.spawn(join, (2, str(tmp_path / "second"), run.path, 0), nprocs=2)
    assert [row.micro_batch for row in folder.rows()] == [4]
    assert [note.split(" for want")[0] for note in halvings(folder)] == ["batch 16 as 2 x 8"]


def test_a_worker_ends_at_once_where_another_has_failed_for_want_of_memory(run: Run) -> None:
    task = task_of(run, "t", CONFIG)
    task.folder.failure.write_text("out of memory")
    run_trial(task, nothing, CPU)
    assert task.folder.rows() == [] and task.folder.ending().reason == "out of memory"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of "
                "139.80 GiB of which 10.50 MiB is free. Including non-PyTorch memory, this"
            ),
            "GPU memory: tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB of "
            "which 10.50 MiB is free",
        ),
        (RuntimeError("CUDA error: out of memory"), "GPU memory: CUDA error: out of memory"),
        (MemoryError("Unable to allocate 3 GiB"), "RAM: more was asked for, "),
        (RuntimeError("could not create a primitive"), "RAM: more was asked for, "),
    ],
)
def test_every_kind_of_shortage_is_told_from_other_errors(error: Exception, words: str) -> None:
    assert memory.is_shortage(error)
    assert memory.figures(error).startswith(words)
    assert not memory.is_shortage(RuntimeError("Expected 3 channels, got 4"))


def test_parts_are_doubled_twice_and_two_workers_at_once_double_them_once(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    folder = run.trial("t")
    folder.path.mkdir(parents=True)
    for _ in range(2):
        assert memory.halve(folder, 1, images=16, world=2, why="RAM") == ""
        assert memory.parts_of(folder) == 2
    assert memory.halve(folder, 2, images=16, world=2, why="RAM") == ""
    assert memory.parts_of(folder) == 4
    assert "with 2 of 16 images at once" in memory.halve(folder, 4, images=16, world=2, why="RAM")
    assert "with 1 of 2 images" in memory.halve(folder, 1, images=2, world=2, why="RAM")
    (folder.path / "parts").write_text("garbage")
    assert memory.parts_of(folder) == 1
