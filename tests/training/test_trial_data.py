"""Which slices a trial trains and validates on, and what becomes of them in a batch."""

from contextlib import closing
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.pipeline.batch import Batch
from brainseg.data.table import read_table
from brainseg.records.run import Run
from brainseg.training.distributed import Ranks
from brainseg.training.task import Task
from brainseg.training.trial import Trial, run_trial
from brainseg.training.trial_data import TrialData
from tests.support.tasks import task_of
from tests.support.trials import CPU, TINY, nothing, trained, untimed, weights
from tests.support.written import write_json


def test_batches_prepared_by_two_threads_train_to_the_same_bit_as_by_one(run: Run) -> None:
    results = []
    for threads in (1, 2):
        trial = Trial(task_of(run, f"of-{threads}", TINY), CPU)
        trial.data.threads = threads  # not PyTorch's own: the ninth digit of its sums depends on it
        rows = [untimed(trial.run_epoch()) for _ in range(3)]
        results.append((rows, trial.validate().patient_table().to_csv()))
    assert results[0] == results[1]
    of_one, of_two = weights(run.trial("of-1")), weights(run.trial("of-2"))
    assert all(torch.equal(of_one[name], of_two[name]) for name in of_one)


def folded(run: Run, folds: int) -> pd.DataFrame:
    """The run's patients in folds, the first of them locked away."""
    table = read_table(run.slices)
    names = sorted(set(table["patient"]))
    fold = {name: n % folds for n, name in enumerate(names[1:])}
    table["fold"] = [fold.get(name, -1) for name in table["patient"]]
    table["part"] = np.where(table["fold"] < 0, "test", "train")
    table.to_csv(run.slices, index=False)
    return table


def test_the_fold_that_the_config_names_validates_and_the_others_train(run: Run) -> None:
    table = folded(run, 2)
    for fold in (0, 1):
        config = replace(TINY, epochs=1, fold=fold)
        trial = Trial(task_of(run, f"{fold}", config), CPU)
        trained_on = set(table["patient"].iloc[trial.data.train_rows])
        last = pd.read_csv(trained(run, f"{fold}", config, nothing).last)
        assert set(last["patient"]) == set(table.loc[table["fold"] == fold, "patient"])
        assert trained_on == set(table.loc[table["fold"] == 1 - fold, "patient"])


def test_an_earlier_version_s_configuration_trains_as_without_an_extra(run: Run) -> None:
    config = replace(TINY, epochs=2)
    folder = trained(run, "now", config, nothing)
    task = task_of(run, "then", config)
    old = {path: value for path, value in task.folder.params().items() if path != "augment.extra"}
    write_json(task.folder.config, old)
    run_trial(Task(run.path, "then"), nothing, CPU)
    assert [untimed(row) for row in folder.rows()] == [untimed(row) for row in task.folder.rows()]


@pytest.mark.parametrize("extra", ["noise", "elastic"])
def test_an_extra_of_the_config_changes_what_is_trained_on_and_nothing_else(
    run: Run, extra: Literal["noise", "elastic"]
) -> None:
    plain, changed = (
        Trial(task_of(run, f"with-{chosen}", with_extra(chosen)), CPU) for chosen in ("none", extra)
    )
    pairs = list(zip(*(images(trial.data) for trial in (plain, changed)), strict=True))
    differ = [not torch.equal(before.image_BCHW, after.image_BCHW) for before, after in pairs]
    assert any(differ) and all((before.rows == after.rows).all() for before, after in pairs)
    same = zip(*(scored_images(trial.data) for trial in (plain, changed)), strict=True)
    assert all(torch.equal(before, after) for before, after in same)


def with_extra(extra: Literal["none", "noise", "elastic"]) -> TrialConfig:
    return replace(TINY, augment=replace(TINY.augment, extra=extra))


def images(data: TrialData) -> list[Batch]:
    """Copies of an epoch's batches: their memory is used again."""
    with closing(data.training_batches(0, Ranks.current())) as batches:
        return [Batch(batch.slices_BHWD.clone(), batch.rows) for batch in batches]


def scored_images(data: TrialData) -> list[torch.Tensor]:
    return [batch.image_BCHW.clone() for batch in data.validation_batches(Ranks.current())]
