"""The command that a report gives trains its trial again, on the same patients."""

import shlex
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from brainseg.cli.main import main
from brainseg.cli.options.parser import Parser, parsed
from brainseg.cli.options.resolve import sweep_from_options
from brainseg.cli.options.sweep import add_sweep_options, sweep_options
from brainseg.cli.train import single
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.sweep import Split
from brainseg.data.dataset import read_data
from brainseg.data.partition import assign_split
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.folds import rows_of
from brainseg.records.files import read_json
from brainseg.report import replay
from tests.support.small_run import in_folds


def split_of(command: str, folder: Path, patients: Path) -> pd.DataFrame:
    """Who validates in the run that a command of the report would start."""
    with chdir(folder):
        for line in command.replace("\\\n", " ").split(" && "):
            verb, *words = shlex.split(line)[1:]
            if verb == "split":
                main([verb, *words])
                continue
            parser = Parser()
            add_sweep_options(parser, single())
            sweep = sweep_from_options(single(), sweep_options(parsed(parser, words)))
    data = read_data(str(patients), "auto", print)
    parts = assign_split(data, sweep.split, print, seeds=sweep.fold_seeds)
    config = sweep.space.config({})
    validates = rows_of(data.table.assign(**parts), config.fold, config.seed)[1]
    return data.table.iloc[validates]


@pytest.mark.parametrize("one_cut", [False, True])
def test_the_command_of_a_fold_s_trial_trains_and_validates_the_same_patients(
    tmp_path: Path, *, one_cut: bool
) -> None:
    patients = write_phantoms(tmp_path / "p", patients=8, slices=3, size=32)
    data = read_data(str(patients), "auto", print)
    split = Split(folds=3, seed=7, test=0.2)
    parts = assign_split(data, split, print, seeds=() if one_cut else (4,))
    sweep = read_json(in_folds(tmp_path, {}).sweep)
    sweep["split"] |= asdict(split)
    sweep["data"] |= {"root": str(patients)}
    for fold in range(3):
        params = flatten(TrialConfig(seed=4, fold=fold))
        command = replay.replay(sweep, f"000{fold}", params, one_cut=one_cut)
        again = split_of(command, tmp_path, patients)
        held = data.table[(parts["fold" if one_cut else "fold_4"] == fold)]
        assert set(again["patient"]) == set(held["patient"])
