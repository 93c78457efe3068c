"""A split is shown by its parts, written, and read back as it was."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from brainseg.cli.main import main
from brainseg.config.sweep import Split
from brainseg.data.dataset import read_data
from brainseg.data.partition import assign_split
from brainseg.data.phantom import write_phantoms
from brainseg.data.splits.draw import split_by_patient, split_by_slice, split_from_file
from brainseg.report.split_terminal import describe_parts, fold_names, print_parts, write_parts
from tests.support.tables import growing, made_up_table, refused


def test_parts_are_described_by_counts_volumes_and_sites() -> None:
    table = made_up_table(
        {"a": [1, 2], "b": [0, 6], "c": [10, 0], "d": [0, 4]}, ["X", "X", "Y", ""]
    )
    split = pd.Series(["train"] * 6 + ["validation"] * 2, index=table.index)
    described = describe_parts(table, split).to_dict("records")
    assert [row["part"] for row in described] == ["train", "validation"]
    assert described[0] == {
        "part": "train",
        "patients": 3,
        "slices": 6,
        "tumour_slices": 4,
        "volume_q1": 4.5,
        "volume_median": 6.0,
        "volume_q3": 8.0,
        "sites": "X 2, Y 1",
    }
    assert described[1]["sites"] == "unknown 1"


def printed(table: pd.DataFrame, parts: pd.Series) -> str:
    console = Console(file=StringIO(), width=120)
    print_parts(table, parts, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_leak_is_reported_only_where_there_is_one() -> None:
    table = growing(20)
    assert "The split leaks" in printed(table, split_by_slice(table, test=0.1))
    assert "leak" not in printed(table, split_by_patient(table, test=0.1))


def test_folds_leave_the_locked_patients_alone_and_each_validates_once(tmp_path: Path) -> None:
    table = growing(23)
    parts = split_by_patient(table, test=0.1)
    folds = fold_names(table, parts, 11, seed=0, groups={})
    assert ((folds == "test") == (parts == "test")).all()
    assert [row for row in describe_parts(table, folds)["part"]][:4] == [
        *("test", "fold 0", "fold 1", "fold 2")
    ]
    written = write_parts(table, folds, tmp_path / "split.csv")
    assert sorted(path.name for path in written) == sorted(f"split-{n}.csv" for n in range(11))
    splits = [split_from_file(table, path) for path in written]
    assert all(((split == "test") == (parts == "test")).all() for split in splits)
    times = sum((split == "validation").astype(int) for split in splits)
    assert (times == (parts != "test")).all()


def test_folds_of_a_split_by_slices_are_refused() -> None:
    table = growing(20)
    assert "folds divide patients, this split is by slices" in refused(
        lambda: fold_names(table, split_by_slice(table, test=0.1), 3, 0, {})
    )


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=8, slices=5, size=32)


@pytest.mark.parametrize("by", ["patients", "slices"])
def test_the_command_writes_what_it_reads_back(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    out = tmp_path / "split.csv"
    main(["split", str(patients), f"--split={by}", "--test=0.3", "--split-seed=5", f"--out={out}"])
    shown, written = capsys.readouterr().out, out.read_text()
    assert "validation" in shown and str(out) in shown.replace("\n", "")
    main(["split", str(patients), f"--split={out}", f"--out={tmp_path / 'again.csv'}"])
    assert (tmp_path / "again.csv").read_text() == written


def test_an_impossible_option_is_one_sentence(
    patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, sentence in (
        ([f"{patients}", "--folds=20"], "for 20 folds; use"),
        ([f"{patients}", "--split=halves"], "got 'halves'"),
        (["s3://key:secret@bucket/x"], "must hold no credentials"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["split", *words])
        assert ended.value.code == 2 and sentence in capsys.readouterr().err


def test_the_folds_of_a_seed_are_those_that_a_list_has_under_it(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.csv"
    main(["split", str(patients), "--folds=4", "--seed=2", "--split-seed=5", f"--out={out}"])
    data = read_data(str(patients), "auto", print)
    parts = assign_split(data, Split(folds=4, seed=5), print, seeds=(1, 2))
    for fold in range(4):
        held = split_from_file(data.table, out.with_stem(f"split-{fold}")) == "validation"
        assert held.equals((parts["fold_2"] == fold).rename("split"))
        assert not held.equals((parts["fold_1"] == fold).rename("split"))
    with pytest.raises(SystemExit):
        main(["split", str(patients), "--seed=2"])
    assert "--seed chooses among folds, there are none; add --folds" in capsys.readouterr().err
