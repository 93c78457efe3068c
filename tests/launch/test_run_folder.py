"""A run keeps the split it began with, says what it stands beside, and is asked one thing only."""

import os
import shutil
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Points, Split, Sweep
from brainseg.data.dataset import Data, read_data
from brainseg.data.partition import assign_split, counts, linked_patients
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import locked_and_folds
from brainseg.data.splits.folds import rows_of
from brainseg.data.table import read_table
from brainseg.launch.run_folder import locked_run, open_run
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.tables import refused
from tests.support.written import write_json

SWEEP = Sweep(name="s", question="Which?", space=Space(TrialConfig(image_size=32), search=()))


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=8, slices=6, size=32)


@pytest.fixture
def data(patients: Path) -> Data:
    return read_data(str(patients), "auto", silent)


def begun(data: Data, run: Run, sweep: Sweep = SWEEP) -> Run:
    origin = sweep.confirms or sweep.refits
    parts = assign_split(data, sweep.split, silent, run, origin, sweep.fold_seeds)
    data.table[parts.columns] = parts
    with locked_run(run):
        open_run(run, sweep, data, made_up=True, command="brainseg train")
    return run


def test_a_run_under_way_keeps_its_split_whatever_would_be_drawn_now(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    other = read_table(run.slices)
    other["part"] = other["part"].replace({"train": "test", "test": "train"})
    other.to_csv(run.slices, index=False)
    assert assign_split(data, SWEEP.split, silent, run)["part"].tolist() == other["part"].tolist()


def test_a_table_of_slices_that_lost_lines_is_refused_not_drawn_anew(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    lines = run.slices.read_text().splitlines(keepends=True)
    run.slices.write_text("".join(lines[:-3]))
    assert refused(lambda: begun(data, run)) == (
        f"{run.slices} cannot be read: it has {len(lines) - 4} slices instead of {len(lines) - 1}; "
        "restore it from a copy, or start the sweep again under another --name"
    )


def test_a_run_split_by_a_file_resumes_without_the_file(data: Data, tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    parts = assign_split(data, Split(seed=4), silent)["part"]
    split = pd.DataFrame({"patient": data.table["patient"], "split": parts}).drop_duplicates()
    split.to_csv(file, index=False)
    sweep = replace(SWEEP, split=Split(by=str(file)))
    run = begun(data, Run(tmp_path / "s"), sweep)
    file.unlink()
    begun(data, run, sweep)
    assert data.table["part"].tolist() == parts.tolist()


def test_another_seed_of_the_split_under_the_same_name_is_refused(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    other = replace(SWEEP, split=Split(seed=1))
    message = refused(lambda: begun(data, run, other))
    assert f"{run.path} holds a sweep with other settings: split.seed differ" in message


def test_a_run_of_a_version_that_lacked_a_hyperparameter_is_resumed_with_its_default_alone(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    record = read_json(run.sweep)
    del record["base"]["augment.extra"]
    write_json(run.sweep, record)
    begun(data, run)
    noisy = replace(SWEEP, space=SWEEP.space.holding({"augment.extra": "noise"}))
    assert "base.augment.extra" in refused(lambda: begun(data, run, noisy))


def test_a_run_whose_version_recorded_a_setting_without_effect_is_resumed_without_it(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    record = read_json(run.sweep)
    record["fixed"]["model.encoder.freeze.first.blocks"] = 9
    write_json(run.sweep, record)
    begun(data, run)
    record["fixed"]["batch_size"] = 3
    write_json(run.sweep, record)
    assert "fixed differ" in refused(lambda: begun(data, run))


def test_baselines_are_recorded_for_the_validation_slices(data: Data, tmp_path: Path) -> None:
    sweep = read_json(begun(data, Run(tmp_path / "p")).sweep)
    kept = sweep["baselines"]
    assert kept["image_size"] == 32
    nothing, nearest, mean = kept["predictors"]
    validation = data.table[data.table["part"] == "validation"]
    assert nothing["scores"]["slice_dice_empty1"] == pytest.approx(1 - validation["tumour"].mean())
    assert nearest["why_not"] and not nearest["scores"]
    assert 0 < mean["scores"]["micro_dice"] < 1
    assert sweep["split"]["shared_patients"] == 0


def test_under_a_split_by_slices_copying_is_a_baseline(data: Data, tmp_path: Path) -> None:
    by_slices = replace(SWEEP, split=Split(by="slices", seed=1))
    sweep = read_json(begun(data, Run(tmp_path / "s"), by_slices).sweep)
    nearest = sweep["baselines"]["predictors"][1]
    assert nearest["scores"]["micro_dice"] > 0 and not nearest["why_not"]
    assert sweep["split"]["shared_patients"] > 0


def test_folds_of_a_search_are_recorded_slice_by_slice_and_counted(
    data: Data, tmp_path: Path
) -> None:
    space = Space(SWEEP.space.base, search=("optimizer.adamw.lr",))
    sweep = replace(SWEEP, space=space, split=Split(folds=3, test=0.2))
    run = begun(data, Run(tmp_path / "s"), sweep)
    table, known = read_table(run.slices), read_json(run.sweep)
    assert set(table["part"]) == {"train", "test"} and set(table["fold"]) == {-1, 0, 1, 2}
    assert ((table["part"] == "test") == (table["fold"] == -1)).all()
    assert list(known["split"]["counts"]) == ["test", "fold 0", "fold 1", "fold 2"]
    assert [part["patients"] for part in known["split"]["counts"].values()] == [2, 2, 2, 2]
    assert known["split"]["folds"] == 3 and known["split"]["shared_patients"] == 0
    without = assign_split(data, replace(sweep.split, folds=0), silent)["part"]
    assert ((table["part"] == "test") == (without == "test")).all(), "as without folds"
    again = assign_split(data, sweep.split, silent, run)
    pd.testing.assert_frame_equal(again, table[["part", "fold"]])


LIST = replace(
    SWEEP,
    first=({"batch_size": 4}, {"batch_size": 8}),
    strategy=Points(seeds=(1, 2), folds=3),
    split=Split(folds=3, test=0.2),
)


def with_seeds(*seeds: int) -> Sweep:
    return replace(LIST, strategy=Points(seeds=seeds, folds=3))


def test_folds_of_a_list_are_cut_for_each_seed_and_counted_together(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"), LIST)
    table, known = read_table(run.slices), read_json(run.sweep)
    assert "fold" not in table and set(table["part"]) == {"train", "test"}
    for column in ("fold_1", "fold_2"):
        assert set(table[column]) == {-1, 0, 1, 2}
        assert ((table["part"] == "test") == (table[column] == -1)).all()
    assert not table["fold_1"].equals(table["fold_2"])
    assert known["split"]["counts"] == {
        "test": {"patients": 2, "slices": 12},
        "folds": {"patients": 6, "slices": 36, "folds": 3, "fewest": 2, "most": 2},
    }
    begun(data, run, LIST)  # the same command resumes
    assert read_json(run.sweep) == known
    other = begun(data, Run(tmp_path / "other"), with_seeds(2))
    assert read_table(other.slices)["fold_2"].equals(table["fold_2"])


def test_more_folds_than_patients_are_refused_before_anything_is_written(
    data: Data, tmp_path: Path
) -> None:
    sweep = replace(SWEEP, split=Split(folds=9, test=0.1))
    assert refused(lambda: begun(data, Run(tmp_path / "s"), sweep)) == (
        "every fold must hold a patient (linked ones count once), there are 7 for 9 folds; "
        "use 7 folds, or add patients"
    )
    assert not list(tmp_path.iterdir())


def test_baselines_of_folds_are_scored_on_every_patient_but_the_locked(
    data: Data, tmp_path: Path
) -> None:
    sweep = replace(SWEEP, split=Split(folds=2))
    nothing = read_json(begun(data, Run(tmp_path / "s"), sweep).sweep)["baselines"]["predictors"][0]
    unlocked = data.table[data.table["part"] != "test"]
    assert nothing["scores"]["slice_dice_empty1"] == pytest.approx(1 - unlocked["tumour"].mean())


def test_patients_that_share_a_slice_are_named_and_stay_together(
    patients: Path, tmp_path: Path
) -> None:
    root = tmp_path / "p"
    for path in patients.rglob("*.tif"):
        copy = root / path.relative_to(patients)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    first, second = sorted(path.name for path in root.iterdir())[:2]
    for mask in ("", "_mask"):
        (root / second / f"{second}_3{mask}.tif").write_bytes(
            (root / first / f"{first}_3{mask}.tif").read_bytes()
        )
    printed: list[str] = []
    data = read_data(str(root), "auto", silent)
    groups = linked_patients(data, printed.append)
    assert groups[first] == groups[second]
    assert printed == [
        "2 patients are linked by their images, masks or names, and kept in one part of the split "
        f"as 1 person: {first}, {second} (brainseg check says why; if they are different people, "
        "give them other names in a manifest)"
    ]
    for seed in range(8):
        parts = assign_split(data, Split(seed=seed, test=0.3), silent)["part"]
        sides = parts.groupby(data.table["patient"]).first()
        assert sides[first] == sides[second]


def test_a_folder_in_use_names_the_process_that_holds_it(tmp_path: Path) -> None:
    run = Run(tmp_path / "s")

    def enter_again() -> None:
        with locked_run(run):
            pass

    with locked_run(run):
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        for _ in range(2):
            assert refused(enter_again) == (
                f"{run.path} is in use by {holder}; wait for it, stop it, or choose another --name"
            )
    enter_again()


def test_a_storage_that_is_no_folder_is_refused_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def enter() -> None:
        with locked_run(Run(tmp_path / "file" / "s")):
            pass

    assert refused(enter).startswith(f"{tmp_path}/file/s cannot be written to (Not a directory); ")


def moved(patients: Path, folder: Path) -> Path:
    """The same files elsewhere, with other times."""
    return Path(shutil.copytree(patients, folder, copy_function=shutil.copyfile))


def test_a_run_resumes_on_a_copy_of_its_data_and_knows_where_it_is(
    data: Data, patients: Path, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    before = read_json(run.sweep)
    copy = moved(patients, tmp_path / "copy")
    begun(read_data(str(copy), "auto", silent), run)
    now = read_json(run.sweep)
    assert now == before | {"data": before["data"] | {"root": str(copy)}}


def test_a_run_does_not_resume_on_other_data_and_says_what_differs(
    data: Data, patients: Path, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    copy = moved(patients, tmp_path / "copy")
    names = data.table["image"]
    shutil.copyfile(copy / names[0], copy / names[1])
    other = read_data(str(copy), "auto", silent)
    assert refused(lambda: begun(other, run)) == (
        f"{run.path} holds a sweep on other data than those under {copy}: 1 file is changed "
        f"({names[1]}); restore the files, or choose another --name"
    )
    (copy / names[1]).unlink()
    (copy / data.table["mask"][1]).unlink()
    fewer = read_data(str(copy), "auto", silent)
    assert f"2 files are gone ({names[1]}, " in refused(lambda: begun(fewer, run))


def test_a_search_starts_from_a_sweep_on_a_copy_and_from_none_on_other_data(
    data: Data, patients: Path, tmp_path: Path
) -> None:
    earlier = begun(data, Run(tmp_path / "s")).path
    copy = moved(patients, tmp_path / "copy")

    def start(name: str) -> None:
        there = read_data(str(copy), "auto", silent)
        there.table["part"] = assign_split(there, SWEEP.split, silent)["part"]
        run = Run(tmp_path / name)
        with locked_run(run):
            open_run(run, SWEEP, there, made_up=True, command="brainseg train", earlier=earlier)

    start("a")
    names = data.table["image"]
    shutil.copyfile(copy / names[0], copy / names[1])
    assert f"the data differ ({patients}): 1 file is changed ({names[1]})" in refused(
        lambda: start("b")
    )


def test_further_seeds_add_their_folds_and_change_nothing_that_is_there(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"), LIST)
    before, known = run.slices.read_bytes().splitlines(), read_json(run.sweep)
    begun(data, run, with_seeds(1, 2, 3))
    now, table = run.slices.read_bytes().splitlines(), read_table(run.slices)
    assert all(line.startswith(old + b",") for line, old in zip(now, before, strict=True))
    assert list(table)[-3:] == ["fold_1", "fold_2", "fold_3"]
    assert set(table["fold_3"]) == {-1, 0, 1, 2} and not table["fold_3"].equals(table["fold_2"])
    extended = read_json(run.sweep)
    assert extended["strategy"] == known["strategy"] | {"seeds": [1, 2, 3]}
    assert {**extended, "strategy": 0, "split": 0} == {**known, "strategy": 0, "split": 0}
    begun(data, run, with_seeds(1, 2, 3))
    assert run.slices.read_bytes().splitlines() == now and read_json(run.sweep) == extended
    for seeds in ((1, 2), (1, 3), (2, 1, 3), (5, 6), (1, 3, 2)):
        message = refused(partial(begun, data, run, with_seeds(*seeds)))
        assert "strategy.seeds" in message, seeds
        assert "further seeds come after those that it has: --seeds 1,2,3,..." in message
    other = replace(with_seeds(1, 2, 3, 4), question="Another?")
    assert "question differ" in refused(lambda: begun(data, run, other))
    assert run.slices.read_bytes().splitlines() == now and read_json(run.sweep) == extended


def test_a_driver_killed_while_seeds_are_added_leaves_a_run_that_either_command_resumes(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"), LIST)
    before = read_json(run.sweep)
    begun(data, run, with_seeds(1, 2, 3))
    slices, extended = run.slices.read_bytes(), read_json(run.sweep)
    write_json(run.sweep, before)  # killed once slices.csv was written
    begun(read_data(before["data"]["root"], "auto", silent), run, LIST)
    assert read_json(run.sweep) == before and run.slices.read_bytes() == slices
    begun(data, run, with_seeds(1, 2, 3))
    assert read_json(run.sweep) == extended and run.slices.read_bytes() == slices


def as_of_an_earlier_version(run: Run, data: Data) -> pd.DataFrame:
    """Make a list's run one whose folds are the same for all seeds."""
    table, known = read_table(run.slices), read_json(run.sweep)
    table["fold"] = locked_and_folds(data.table, table["part"], 3, 0)
    old = table.drop(columns=["fold_1", "fold_2"])
    old.to_csv(run.slices, index=False)
    write_json(run.sweep, known | {"split": known["split"] | {"counts": counts(old)}})
    return old


def test_seeds_of_an_earlier_version_keep_their_folds_and_further_ones_get_their_own(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"), LIST)
    old = as_of_an_earlier_version(run, data)
    known, lines = read_json(run.sweep), run.slices.read_bytes()
    assert list(known["split"]["counts"]) == ["test", "fold 0", "fold 1", "fold 2"]

    def begin_anew(sweep: Sweep) -> None:
        begun(read_data(known["data"]["root"], "auto", silent), run, sweep)

    begin_anew(LIST)
    assert read_json(run.sweep) == known and run.slices.read_bytes() == lines
    begin_anew(with_seeds(1, 2, 3))
    table = read_table(run.slices)
    assert list(table) == [*old, "fold_3"] and table["fold"].equals(old["fold"])
    for fold in range(3):
        assert (table["fold"].iloc[rows_of(table, fold, 1)[1]] == fold).all()
        assert (table["fold_3"].iloc[rows_of(table, fold, 3)[1]] == fold).all()
    begin_anew(with_seeds(1, 2, 3))
    assert list(read_table(run.slices)) == [*old, "fold_3"]


def test_a_record_of_the_precision_that_no_trial_could_follow_is_refused_before_any_starts(
    data: Data, tmp_path: Path
) -> None:
    run = begun(data, Run(tmp_path / "s"))
    write_json(run.compute, {"precision": "half"})
    assert refused(lambda: begun(data, run)) == (
        f"{run.compute} cannot be read: its precision is 'half', not float32 or bfloat16; "
        "remove it: it is written again, from what the trials recorded if any has started"
    )
