"""A person whose scans are several patients counts once, from the files to the comparison."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from brainseg.analysis.comparison import compare
from brainseg.analysis.snapshot import RunSnapshot
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import build, flatten
from brainseg.config.sweep import Points, Split
from brainseg.data.dataset import read_data
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.folds import folds_of
from brainseg.data.table import read_slices
from brainseg.records.run import Run
from brainseg.records.trial_state import TrialState
from tests.launch.test_run_folder import LIST, begun, silent


def two_visits(folder: Path) -> Path:
    """Eight patients of seven persons."""
    root = write_phantoms(folder / "data", patients=8, slices=3, size=32)
    (root / "PHANTOM_0003").rename(root / "P3_2019-05-01")
    (root / "PHANTOM_0004").rename(root / "P3_2020-01-01")
    return root


def train_all(run: Run) -> None:
    """Note every trial of the list as done; the patients of its fold have a Dice at its end."""
    table, rng = read_slices(run.slices), np.random.default_rng(0)
    for n, (drawn, pinned) in enumerate(SWEEP.points()):
        config = SWEEP.space.config({**drawn, **pinned})
        fold = folds_of(table, config.seed)
        assert fold is not None
        patients = sorted(set(table.loc[fold == config.fold, "patient"]))
        dice = rng.uniform(0.7, 0.9, len(patients)) - 0.05 * (config.batch_size == 8)
        run.note(f"{n:04d}", TrialState.RUNNING, params=flatten(config))
        scored = pd.DataFrame({"patient": patients, "dice": dice})
        run.trial(f"{n:04d}").path.mkdir(parents=True)
        scored.to_csv(run.trial(f"{n:04d}").last, index=False)
        run.note(f"{n:04d}", TrialState.DONE, dice=float(dice.mean()), epoch=1)


SWEEP = replace(
    LIST,
    strategy=Points(seeds=(1, 2, 3), folds=3),
    split=Split(folds=3, test=0.0),
)


def test_two_visits_of_a_person_are_one_in_a_comparison(tmp_path: Path) -> None:
    run = begun(read_data(str(two_visits(tmp_path)), "auto", silent), Run(tmp_path / "s"), SWEEP)
    table = read_slices(run.slices)
    persons = table.groupby("patient")["person"].unique()
    assert persons["P3_2020-01-01"] == persons["P3_2019-05-01"] == ["P3_2019-05-01"]
    assert persons["PHANTOM_0001"] == ["PHANTOM_0001"]
    for seed in (1, 2, 3):
        assert (table.groupby("person")[f"fold_{seed}"].nunique() == 1).all()
    train_all(run)
    snapshot = RunSnapshot.load(run)
    assert compare(snapshot).patients == 7
    first = build(TrialConfig(), snapshot.records[0].params)
    assert first.batch_size == 4 and snapshot.person("P3_2020-01-01") == "P3_2019-05-01"


def test_where_nothing_is_linked_no_person_is_recorded(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "data", patients=8, slices=3, size=32)
    run = begun(read_data(str(root), "auto", silent), Run(tmp_path / "s"), SWEEP)
    assert "person" not in read_slices(run.slices)
    train_all(run)
    assert compare(RunSnapshot.load(run)).patients == 8
