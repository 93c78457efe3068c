"""A trial that has a checkpoint needs no starting weights; one without names what it lacks."""

import shutil
from dataclasses import replace

import pytest

from brainseg.config.hyperparameters import First
from brainseg.records.rows import EpochRow
from brainseg.records.run import Run
from tests.support.trials import SMALL, TINY, last_state, nothing, trained


def test_weights_that_vanish_while_a_trial_trains_are_not_missed(run: Run) -> None:
    donor = trained(run, "donor", replace(TINY, model=SMALL, epochs=1), nothing)
    file = run.path / "start.pt"
    shutil.copy(donor.path / "best.pt", file)
    model = replace(SMALL, weights=str(file), freeze=First(blocks=2))
    config = replace(TINY, model=model, epochs=2)
    whole = trained(run, "whole", config, nothing)

    def cut(row: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(run, "t", config, cut)
    file.unlink()
    again = trained(run, "t", config, nothing)
    assert again.ending().reason == "" and again.notes() == []
    expected, resumed = last_state(whole)["network"], last_state(again)["network"]
    assert all((expected[key] == resumed[key]).all() for key in expected)
    assert again.audit() == whole.audit() and not again.audit()[0]["changed"]
    late = trained(run, "late", config, nothing)
    assert f"there is no file {file}" in late.ending().reason
