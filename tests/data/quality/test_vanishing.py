"""Tumours that are lost when slices are made smaller are told before anything is trained."""

from pathlib import Path

import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.config.hyperparameters import TrialConfig
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import open_pack
from brainseg.data.quality.check import check
from brainseg.data.quality.vanishing import vanished
from brainseg.launch.validate import tumours_lost
from tests.support.scans import write_picture


def write_slice(root: Path, patient: str, number: int, side: int) -> None:
    """A slice of 128 pixels with a square tumour across four cells of 16."""
    mask = np.zeros((128, 128), np.uint8)
    mask[64 - side // 2 : 64 + side // 2, 64 - side // 2 : 64 + side // 2] = 255
    image = np.random.default_rng([ord(patient), number]).integers(0, 255, (128, 128, 3), np.uint8)
    write_picture(root / patient / f"{patient}_{number}.tif", image)
    write_picture(root / patient / f"{patient}_{number}_mask.tif", mask)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of 4 patients 2 have small tumours, and 1 small and large ones."""
    for patient, sides in {"p": (4, 6), "q": (8, 0), "r": (4, 60), "s": (60, 60)}.items():
        for number, side in enumerate(sides, start=1):
            write_slice(tmp_path / "data", patient, number, side)
    return tmp_path / "data"


LOST = (
    "at 8 pixels a side, the tumours of 4 of 7 slices vanish (of 16 to 64 px in slices of 128 a "
    "side), 2 of 4 patients lose all tumour: p, q; use a larger --image-size"
)


def test_the_count_is_that_of_the_pack(root: Path) -> None:
    table = find_slices(root)
    for size in (8, 16, 32, 64, 128, 256):
        masks_NHW = open_pack(table, root, image_size=size).masks_NHW
        left = masks_NHW.any(axis=(1, 2))
        lost = vanished(table, root, size)
        assert len(lost.areas) == ((table["tumour"] == 1) & ~left).sum()


def test_check_plan_and_sweep_say_what_vanishes_at_the_training_size(root: Path) -> None:
    assert LOST in check(root, image_size=8).notes
    table = find_slices(root)
    assert tumours_lost([TrialConfig(image_size=8), TrialConfig(image_size=8)], table, root) == [
        LOST
    ]
    assert tumours_lost([TrialConfig(image_size=128)], table, root) == []
    assert not [note for note in check(root, image_size=128).notes if "vanish" in note]


def test_a_set_whose_tumours_all_vanish_is_refused_by_check_and_before_training(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for patient in "rs":
        for number in (1, 2):
            write_slice(root, patient, number, 4)
    why = (
        "some tumour must be left at --image-size 8, p/p_1_mask.tif loses its own, at 8 pixels a "
        "side, the tumours of 7 of 7 slices vanish (of 16 to 64 px in slices of 128 a side), 4 of "
        "4 patients lose all tumour: p, q, r, s; use a larger --image-size"
    )
    table = find_slices(root)
    with pytest.raises(ValueError) as refused:
        tumours_lost([TrialConfig(image_size=8)], table, root)
    assert str(refused.value) == why
    resumed = tumours_lost([TrialConfig(image_size=8)], table, root, resumes=True)
    assert resumed == [why]
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(root), "--image-size", "8"])
    assert stopped.value.code == 1 and "7 of 7 slices vanish" in capsys.readouterr().out
    main(["check", str(root), "--image-size", "64"])


def test_a_set_without_tumour_loses_none(root: Path) -> None:
    table = find_slices(root)
    lost = vanished(table[table["tumour"] == 0], root, 8)
    assert lost.notes() == [] and lost.problems() == []


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--set", "model=plain"),
        ("plan", "sweeps/encoders.py"),
        ("lr-range", "--set", "model=plain"),
    ],
    ids=lambda words: words[0],
)
def test_training_refuses_such_a_set_before_anything_starts(
    command: tuple[str, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for patient in "pqrs":
        for number in (1, 2):
            write_slice(root, patient, number, 2)
    storage = ["--storage", str(tmp_path / "runs")] * (command[0] == "train")
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--data", str(root), "--image-size", "32", *storage])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(
        "brainseg: some tumour must be left at --image-size 32, p/p_1_mask.tif loses its own, "
    )
    assert not list(tmp_path.glob("runs/*/slices.csv"))
