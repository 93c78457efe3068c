"""A trial that is killed at any moment and resumed ends as one that never was."""

import os
import shutil
from dataclasses import replace

import pytest
import torch

from brainseg.config.hyperparameters import (
    Adam,
    DiceBce,
    ExpRange,
    First,
    Gradual,
    Lovasz,
    OneCycle,
    Plain,
    Sgd,
    Step,
    TrialConfig,
    Triangular,
    Triangular2,
)
from brainseg.records.files import read_json
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from tests.support.killed import killed_before
from tests.support.trials import (
    NORMED,
    SMALL,
    TINY,
    last_state,
    network_of,
    nothing,
    trained,
    untimed,
    weights,
)
from tests.support.written import write_json


def test_a_trial_cut_off_after_any_epoch_ends_as_if_it_never_was(run: Run) -> None:
    config = replace(TINY, model=Plain(width=4, depth=2, dropout=0.2), epochs=4)
    whole = trained(run, "whole", config, nothing)

    def cut(row: EpochRow) -> None:
        if row.epoch in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            trained(run, "cut", config, cut)
    again = trained(run, "cut", config, cut)
    assert [row.epoch for row in again.rows()] == [1, 2, 3, 4]
    assert [untimed(row) for row in whole.rows()] == [untimed(row) for row in again.rows()]
    for key, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[key]), key


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, schedule=Triangular2(cycle_epochs=3), optimizer=Sgd(lr=0.1)),
        replace(TINY, schedule=ExpRange(cycle_epochs=2, momentum_drop=0.1)),
        replace(TINY, schedule=OneCycle(), optimizer=Adam()),
        replace(TINY, schedule=Step(every_epochs=2)),
        replace(TINY, schedule=Triangular(cycle_epochs=3), lr="auto", model=NORMED, loss=DiceBce()),
        replace(TINY, model=replace(SMALL, freeze=Gradual(until=0.8), layer_decay=0.7)),
        replace(TINY, model=replace(SMALL, freeze=First(blocks=2)), loss=Lovasz()),
    ],
    ids=["triangular2", "exprange", "onecycle", "step", "lr=auto", "gradual", "first"],
)
def test_cut_off_in_the_middle_of_a_cycle_or_of_unfreezing_it_ends_with_the_same_weights(
    run: Run, config: TrialConfig
) -> None:
    config = replace(config, epochs=5)
    whole = trained(run, "whole", config, nothing)
    assert whole.ending().reason == ""

    def cut(row: EpochRow) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "cut", config, cut)
    again = trained(run, "cut", config, nothing)
    assert again.ending().reason == ""
    assert [row.lr for row in whole.rows()] == [row.lr for row in again.rows()]
    expected, resumed = last_state(whole), last_state(again)
    assert all(
        torch.equal(expected["network"][key], resumed["network"][key])
        for key in expected["network"]
    )
    assert again.audit() == whole.audit()


def test_a_row_written_just_before_the_crash_is_not_doubled(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    shutil.copy(folder.metrics, folder.path / "copy")  # as if killed between row and checkpoint
    again = trained(run, "t", replace(TINY, epochs=2), nothing)
    assert [row.epoch for row in again.rows()] == [1, 2]


def test_killed_between_its_last_row_and_its_last_patients_a_trial_ends_with_both(run: Run) -> None:
    whole = trained(run, "whole", TINY, nothing)
    cut = run.trial("cut")
    cut.last.mkdir(parents=True)  # nothing can be written there: as if killed just before
    assert "last.csv must be a file" in trained(run, "cut", TINY, nothing).ending().reason
    assert [row.epoch for row in cut.rows()] == [1, 2, 3]
    cut.last.rmdir()
    cut.failure.unlink()
    trained(run, "cut", TINY, nothing)
    assert [row.epoch for row in cut.rows()] == [1, 2, 3]
    assert cut.last.read_text() == whole.last.read_text()


def test_killed_between_its_last_patients_and_its_last_checkpoint_it_ends_with_the_same(
    run: Run,
) -> None:
    folder = trained(run, "t", replace(TINY, epochs=2), nothing)
    last, rows = folder.last.read_text(), folder.rows()
    entries = read_json(folder.path / "checkpoints.json")
    (folder.path / entries[0]["file"]).unlink()
    write_json(folder.path / "checkpoints.json", entries[1:])  # that of the first epoch
    trained(run, "t", replace(TINY, epochs=2), nothing)
    assert folder.last.read_text() == last
    assert [row.dice for row in folder.rows()] == [row.dice for row in rows]


def test_killed_between_any_two_files_of_its_last_epoch_it_keeps_the_network_of_its_scores(
    listed: Run,
) -> None:
    config = replace(TINY, epochs=2)
    whole = trained(listed, "whole", config, nothing)
    for file in ("last.csv", "latest-0002.pt"):  # after last.pt; after both
        killed_before(listed, "cut", config, file)
    cut = trained(listed, "cut", config, nothing)
    lost = "epoch 2 was lost and is trained again; resumes after epoch 1"
    assert cut.notes() == [lost, lost] and [row.repeats for row in cut.rows()] == [None, 2]
    assert [untimed(row) for row in cut.rows()] == [untimed(row) for row in whole.rows()]
    assert cut.last.read_text() == whole.last.read_text()
    kept = network_of(cut.last_network)
    for key, tensor in network_of(whole.last_network).items():
        assert torch.equal(tensor, kept[key]), key


def test_a_list_s_trial_of_an_earlier_version_resumes_and_keeps_what_it_is_scored_by(
    listed: Run, run: Run
) -> None:
    """That version kept the best network of every trial."""
    config = replace(TINY, epochs=2)

    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", config, cut)
    shutil.copytree(run.trial("t").path, listed.trial("t").path)
    folder = trained(listed, "t", config, nothing)
    assert folder.notes() == [] and folder.ending().reason == ""
    assert torch.load(folder.last_network, weights_only=True)["epoch"] == 2


def test_a_trial_that_had_ended_when_its_driver_died_is_left_as_it_is(run: Run) -> None:
    folder = trained(run, "t", replace(TINY, epochs=1), nothing)
    rows = folder.rows()

    def never(row: EpochRow) -> None:
        raise AssertionError("an epoch too many")

    trained(run, "t", replace(TINY, epochs=1), never)
    assert folder.rows() == rows


def test_damaged_checkpoints_fail_the_trial_instead_of_starting_it_afresh(run: Run) -> None:
    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", TINY, cut)
    for file in run.trial("t").path.glob("latest-*.pt"):
        os.truncate(file, 100)
    folder = trained(run, "t", TINY, nothing)
    assert "no checkpoint" in folder.ending().reason
