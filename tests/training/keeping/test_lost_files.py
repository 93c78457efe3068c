"""Whatever is lost or damaged beside a checkpoint, a trial ends as if it were not and says so."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brainseg.config.hyperparameters import DiceBce, First, Triangular
from brainseg.records.checkpoint_index import REMEDY
from brainseg.records.files import read_json
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.keeping import checkpoint
from brainseg.training.keeping.carried import restore_rows
from tests.support.trials import (
    NORMED,
    SMALL,
    TINY,
    network_of,
    nothing,
    run_of,
    trained,
    untimed,
    weights,
)

CONFIG = replace(TINY, epochs=4)
LAST = 3  # the epoch after which it was cut off


def cut(row: EpochRow) -> None:
    if row.epoch == LAST:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def runs(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: in `whole` the trial t was never cut off, in `cut` it was after its third epoch."""
    folder = tmp_path_factory.mktemp("runs")
    whole = trained(run_of(phantoms, folder / "whole"), "t", CONFIG, nothing)
    assert whole.ending().reason == "" and whole.notes() == []
    with pytest.raises(KeyboardInterrupt):
        trained(run_of(phantoms, folder / "cut"), "t", CONFIG, cut)
    return folder


@pytest.fixture
def folder(runs: Path, tmp_path: Path) -> TrialDir:
    shutil.copytree(runs / "cut", tmp_path / "cut")
    return Run(tmp_path / "cut").trial("t")


def resumed(folder: TrialDir) -> TrialDir:
    return trained(Run(folder.path.parents[1]), "t", CONFIG, nothing)


def lines(folder: TrialDir) -> list[str]:
    return folder.metrics.read_text().splitlines(keepends=True)


def without_files(folder: TrialDir) -> None:
    """Make the checkpoints those of an earlier version, which carried no files."""
    for file in sorted(folder.path.glob("latest-*.pt")):
        state = checkpoint.load(file)
        del state["files"], state["trial"]
        checkpoint.save_latest(folder.path, state["epoch"], state)


def newest_of(folder: TrialDir) -> Path:
    return folder.path / f"latest-{LAST:04d}.pt"


def edit(change: Callable[[list[str]], list[str]]) -> Callable[[TrialDir], None]:
    return lambda folder: void(folder.metrics.write_text("".join(change(lines(folder)))))


def void(_: object) -> None:
    pass


def lose(*names: str) -> Callable[[TrialDir], None]:
    return lambda folder: [(folder.path / name).unlink() for name in names] and None


AFTER = f"resumes after epoch {LAST}"
ROWS = f"metrics.jsonl was not whole and is written again; {AFTER}"
HARMS: dict[str, tuple[Callable[[TrialDir], None], str]] = {
    "index lost": (lose("checkpoints.json"), f"checkpoints.json is missing; {AFTER}"),
    "newest cut": (
        lambda folder: os.truncate(newest_of(folder), 999),
        "latest-0003.pt is damaged; epoch 3 was lost and is trained again; resumes after epoch 2",
    ),
    "index and newest lost": (
        lose("checkpoints.json", "latest-0003.pt"),
        "checkpoints.json is missing; epoch 3 was lost and is trained again; resumes after epoch 2",
    ),
    "rows lost": (
        lose("metrics.jsonl"),
        f"metrics.jsonl was missing and is written again; {AFTER}",
    ),
    "rows shorter": (edit(lambda rows: rows[:1]), ROWS),
    "a gap": (edit(lambda rows: [rows[0], rows[2]]), ROWS),
    "doubled": (edit(lambda rows: [*rows[:2], *rows[1:]]), ROWS),
    "garbage": (edit(lambda rows: [rows[0], "\0\0garbage\n", *rows[2:]]), ROWS),
    "patients lost": (
        lose("patients.csv"),
        f"patients.csv was missing and is written again; {AFTER}",
    ),
    "no table, no rows, no index": (
        lose("patients.csv", "metrics.jsonl", "checkpoints.json"),
        "checkpoints.json is missing; metrics.jsonl was missing and is written again; "
        f"patients.csv was missing and is written again; {AFTER}",
    ),
}


@pytest.mark.parametrize(("harm", "note"), HARMS.values(), ids=HARMS)
def test_the_trial_ends_as_if_nothing_were_lost_and_says_what_was(
    runs: Path, folder: TrialDir, harm: Callable[[TrialDir], None], note: str
) -> None:
    harm(folder)
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert folder.notes() == [note]


OLD: dict[str, tuple[Callable[[TrialDir], None], list[str]]] = {
    "nothing lost": (lambda folder: None, []),
    "doubled": (edit(lambda rows: [*rows[:2], *rows[1:]]), [ROWS]),
    "shorter": (
        edit(lambda rows: rows[:2]),
        ["latest-0003.pt cannot be used, as metrics.jsonl holds epochs 1 to 2 only; "
         "resumes after epoch 2"],
    ),
    "a gap": (
        edit(lambda rows: [rows[0], rows[2]]),
        ["latest-0003.pt cannot be used, as metrics.jsonl holds epochs 1 to 1 only; "
         "latest-0002.pt cannot be used, as metrics.jsonl holds epochs 1 to 1 only; "
         "no checkpoint is left; starts again from its first epoch"],
    ),
    "lost": (
        lose("metrics.jsonl"),
        ["latest-0003.pt cannot be used, as metrics.jsonl holds no first epoch; "
         "latest-0002.pt cannot be used, as metrics.jsonl holds no first epoch; "
         "no checkpoint is left; starts again from its first epoch"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "notes"), OLD.values(), ids=OLD)
def test_beside_an_earlier_version_s_checkpoint_missing_epochs_are_trained_again(
    runs: Path, folder: TrialDir, harm: Callable[[TrialDir], None], notes: list[str]
) -> None:
    without_files(folder)
    harm(folder)
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert folder.notes() == notes


def assert_same(whole: TrialDir, again: TrialDir) -> None:
    assert again.ending().reason == ""
    assert [untimed(row) for row in again.rows()] == [untimed(row) for row in whole.rows()]
    for name in ("patients", "last"):
        assert getattr(again, name).read_text() == getattr(whole, name).read_text()
    for key, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[key]), key
    with np.load(whole.panels) as expected, np.load(again.panels) as panels:
        assert (expected["predictions"] == panels["predictions"]).all()


def test_a_checkpoint_of_another_trial_is_not_taken_for_its_own(
    runs: Path, folder: TrialDir
) -> None:
    run = Run(folder.path.parents[1])
    other = trained(run, "other", replace(CONFIG, seed=5), nothing)
    shutil.copy(other.path / "latest-0004.pt", folder.path / "latest-0004.pt")
    (folder.path / "checkpoints.json").unlink()
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert folder.notes() == [
        f"checkpoints.json is missing; latest-0004.pt is of another trial; {AFTER}"
    ]


def test_an_earlier_version_s_checkpoint_of_another_network_is_not_taken_for_its_own(
    runs: Path, folder: TrialDir
) -> None:
    run = Run(folder.path.parents[1])
    other = trained(run, "other", replace(CONFIG, model=NORMED), nothing)
    without_files(other)
    shutil.copy(other.path / "latest-0004.pt", folder.path / "latest-0004.pt")
    (folder.path / "checkpoints.json").unlink()
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert "latest-0004.pt is of another network; resumes after" in folder.notes()[0]


def test_following_the_remedy_for_damaged_checkpoints_starts_the_trial_again(
    runs: Path, folder: TrialDir
) -> None:
    for file in folder.path.glob("latest-*.pt"):
        os.truncate(file, 999)
    assert REMEDY in resumed(folder).ending().reason
    folder.failure.unlink()
    (folder.path / "checkpoints.json").unlink()
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert folder.notes() == [
        "checkpoints.json is missing; latest-0003.pt is damaged; latest-0002.pt is damaged; "
        "no checkpoint is left; starts again from its first epoch"
    ]


def test_all_checkpoints_lost_with_their_index_start_the_trial_again_aloud(
    runs: Path, folder: TrialDir
) -> None:
    lose("checkpoints.json", "latest-0003.pt", "latest-0002.pt")(folder)
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert folder.notes() == ["no checkpoint is left; starts again from its first epoch"]


def test_a_best_network_that_is_lost_is_written_again_or_its_loss_is_said(
    folder: TrialDir,
) -> None:
    best = checkpoint.newest(folder.path).state["best_epoch"]
    lose("best.pt", "panels.npz")(folder)
    resumed(folder)
    lost = (
        "best.pt was lost and is written again"
        if best == LAST
        else f"best.pt, the network of epoch {best}, was lost"
    )
    assert folder.notes() == [f"{lost}; panels.npz of epoch {best} was lost; {AFTER}"]


def test_a_scored_network_that_is_lost_is_written_again(listed: Run) -> None:
    folder = trained(listed, "t", CONFIG, nothing)
    expected = network_of(folder.last_network)
    lose("last.pt", "panels.npz")(folder)
    trained(listed, "t", CONFIG, nothing)
    assert folder.notes() == [
        "last.pt was lost and is written again; panels.npz of epoch 4 was lost; "
        "resumes after epoch 4"
    ]
    kept = network_of(folder.last_network)
    assert all(torch.equal(tensor, kept[key]) for key, tensor in expected.items())


def test_rows_that_are_lost_while_it_trains_are_written_again(folder: TrialDir) -> None:
    run = Run(folder.path.parents[1])
    metrics = run.trial("new").metrics
    again = trained(run, "new", CONFIG, lambda row: metrics.unlink() if row.epoch == 2 else None)
    assert [row.epoch for row in again.rows()] == [1, 2, 3, 4]
    assert again.notes() == ["metrics.jsonl was missing and is written again"]


def frozen_trial(run: Run, harm: Callable[[TrialDir], Any], *, old: bool) -> TrialDir:
    config = replace(CONFIG, model=replace(SMALL, freeze=First(blocks=2)))
    with pytest.raises(KeyboardInterrupt):
        trained(run, "f", config, cut)
    if old:
        without_files(run.trial("f"))
    harm(run.trial("f"))
    return trained(run, "f", config, nothing)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text('{"a": "')])
def test_a_proof_of_frozen_tensors_that_is_lost_comes_back_with_the_checkpoint(
    run: Run, harm: Callable[[Path], Any]
) -> None:
    folder = frozen_trial(run, lambda folder: harm(folder.frozen), old=False)
    assert folder.ending().reason == ""
    assert [stage["changed"] for stage in folder.audit()] == [[]]
    assert len(read_json(folder.frozen)) == folder.audit()[0]["tensors"] > 20


def test_an_earlier_version_s_proof_that_is_lost_starts_again_aloud(run: Run) -> None:
    folder = frozen_trial(run, lambda folder: folder.frozen.unlink(), old=True)
    assert folder.ending().reason == "" and len(folder.audit()) == 1
    assert folder.notes() == ["frozen.json was lost: its proof starts after epoch 3"]


def test_bounds_of_a_range_test_come_back_with_the_checkpoint(run: Run) -> None:
    config = replace(
        CONFIG, lr="auto", model=NORMED, loss=DiceBce(), schedule=Triangular(cycle_epochs=2)
    )
    whole = trained(run, "whole", config, nothing)
    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", config, cut)
    expected = run.trial("t").lr_range.read_text()
    run.trial("t").lr_range.unlink()
    again = trained(run, "t", config, nothing)
    assert again.lr_range.read_text() == expected
    assert_same(whole, again)
    assert again.notes() == [f"lr_range.csv was missing and is written again; {AFTER}"]


def test_another_trial_s_checkpoints_with_their_index_are_refused_by_name(
    folder: TrialDir,
) -> None:
    run = Run(folder.path.parents[1])
    other = trained(run, "other", replace(CONFIG, seed=5), nothing)
    for name in ("checkpoints.json", "latest-0004.pt"):
        shutil.copy(other.path / name, folder.path / name)
    lose("latest-0003.pt", "latest-0002.pt")(folder)
    reason = resumed(folder).ending().reason
    assert "is whole (latest-0004.pt is of another trial, latest-0003.pt is missing)" in reason
    assert reason.endswith(REMEDY)


@pytest.mark.parametrize("harm", ["rows lost", "a gap", "no table, no rows, no index"])
def test_the_search_sees_the_rows_of_a_paused_trial_that_lost_them(
    runs: Path, folder: TrialDir, harm: str
) -> None:
    HARMS[harm][0](folder)
    assert restore_rows(folder) == HARMS[harm][1]
    assert folder.notes() == [HARMS[harm][1]]
    assert [row.epoch for row in folder.rows()] == [1, 2, 3]
    assert restore_rows(folder) == ""
    assert_same(Run(runs / "whole").trial("t"), resumed(folder))
    assert len(folder.notes()) == 1


def test_rows_of_another_trial_s_checkpoint_are_not_taken(folder: TrialDir) -> None:
    run = Run(folder.path.parents[1])
    other = trained(run, "other", replace(CONFIG, seed=5), nothing)
    shutil.copy(other.path / "latest-0004.pt", folder.path / "latest-0004.pt")
    for name in ("checkpoints.json", "metrics.jsonl", "latest-0003.pt"):
        (folder.path / name).unlink()
    assert restore_rows(folder) == (
        "checkpoints.json is missing; latest-0004.pt is of another trial; metrics.jsonl was "
        "missing and is written again; resumes after epoch 2"
    )
    assert [row.epoch for row in folder.rows()] == [1, 2]
