"""What is tumour in masks of several labels is chosen, kept with the run, and never guessed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainseg.cli.main import main
from brainseg.config.hyperparameters import TrialConfig
from brainseg.config.space import Space
from brainseg.config.sweep import Split, Sweep
from brainseg.data.dataset import Data, read_data
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.labels import parse_label
from brainseg.data.pack.store import open_pack
from brainseg.data.partition import assign_split
from brainseg.data.quality.check import check
from brainseg.data.table import read_slices
from brainseg.launch.run_folder import open_run
from brainseg.records.files import read_json
from brainseg.records.run import Run
from tests.support.png_bytes import PALETTE, png
from tests.support.scans import blob, describe, noise, write_picture, write_volume
from tests.support.tables import refused
from tests.support.written import write_json

PIXELS = {1: 10, 2: 20, 4: 6}  # of each label, in one slice of three
REMEDY = "use --label whole for all of them, or join some, as --label 1+4"
SWEEP = Sweep(
    name="s",
    question="Which?",
    space=Space(TrialConfig(image_size=16, channels=1), search=()),
    split=Split(validation=0.3, test=0),
)


def labels(patient: int) -> np.ndarray:
    """Every patient has 1 and 2, every other one 4."""
    mask_SHW = np.zeros((3, 16, 16), np.uint8)
    held = {n: count for n, count in PIXELS.items() if n < 4 or patient % 2}
    mask_SHW[1].flat[: sum(held.values())] = np.repeat([*held], [*held.values()])
    return mask_SHW


def as_volumes(root: Path) -> None:
    for n in range(4):
        write_volume(root / f"P{n}" / "flair.nii.gz", noise(3, 16, 16 + n)[..., :16])
        write_volume(root / f"P{n}" / "seg.nii.gz", labels(n))


def as_pictures(root: Path) -> None:
    for n in range(4):
        for k, (image_HW, mask_HW) in enumerate(
            zip(noise(3, 16, 16 + n)[..., :16], labels(n), strict=True)
        ):
            write_picture(root / "images" / f"P{n}_{k}.png", image_HW)
            write_picture(root / "masks" / f"P{n}_{k}.tif", mask_HW)


def as_nnunet(root: Path) -> None:
    for n in range(4):
        write_volume(root / "imagesTr" / f"P{n}_0000.nii.gz", noise(3, 16, 16 + n)[..., :16])
        write_volume(root / "labelsTr" / f"P{n}.nii.gz", labels(n))
    regions = {"background": 0, "whole": [1, 2, 4], "core": [1, 4]}
    describe(root, channel_names={"0": "FLAIR"}, labels=regions)


@pytest.fixture
def brats(tmp_path: Path) -> Path:
    as_volumes(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("write", [as_volumes, as_pictures, as_nnunet])
def test_a_label_says_what_is_tumour_in_every_layout(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path)
    message = refused(lambda: find_slices(tmp_path))
    assert "--label" in message
    for label, pixels in (("whole", (30, 36)), ("1", (10, 10)), ("1+4", (10, 16)), ("4", (0, 6))):
        table = find_slices(tmp_path, label=label)
        assert set(table["label"]) == {label}
        sums = table.groupby("patient")["tumour_pixels"].sum().tolist()
        assert sums == [*pixels, *pixels]


def test_without_a_label_each_volume_is_named_once_with_its_labels(brats: Path) -> None:
    found = check(brats)
    assert [str(problem) for problem in found.problems[:2]] == [
        "a mask must hold 0 and 1, or 0 and 255, unless --label says which labels are tumour, "
        f"P{n}/seg.nii.gz holds {held}; {REMEDY}"
        for n, held in enumerate(
            (
                "0 (738 px), 1 (10 px), 2 (20 px)",
                "0 (732 px), 1 (10 px), 2 (20 px), 4 (6 px)",
            )
        )
    ]
    assert len(found.problems) == 4


def test_a_label_that_no_mask_has_is_refused_with_those_that_there_are(brats: Path) -> None:
    names = "label 3, which no mask holds (they hold 1, 2, 4); choose others"
    assert refused(lambda: find_slices(brats, label="1+3")) == (
        f"a label must occur in some mask, --label names {names}"
    )
    assert [str(problem) for problem in check(brats, label="1+3").problems] == [
        f"a label must occur in some mask, --label names {names}"
    ]


def test_check_says_how_many_patients_have_which_label(
    brats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", str(brats), "--label=4+1"])
    output = " ".join(capsys.readouterr().out.split())
    expected = "tumour is label 1+4; masks hold 1 (4 patients), 2 (4 patients), 4 (2 patients)"
    assert expected in output and "no problem found" in output


@pytest.mark.parametrize(
    ("text", "label"), [("whole", "whole"), ("4+1", "1+4"), ("2+2", "2"), ("255", "255")]
)
def test_a_label_is_kept_in_one_way_of_writing(text: str, label: str) -> None:
    assert parse_label(text) == label


@pytest.mark.parametrize("text", ["", "0", "1+0", "1,4", "core", "-1", "1++4", "1.0", "²"])
def test_what_is_no_label_is_refused(text: str) -> None:
    message = f"must be whole, or numbers from 1 joined by +, as 1+4, got {text!r}"
    assert refused(lambda: parse_label(text)) == message


@pytest.mark.parametrize(("label", "lacks"), [("77", ""), ("77+99", "99"), ("1+50", "1 and 50")])
def test_labels_of_large_numbers_are_told_apart(tmp_path: Path, label: str, lacks: str) -> None:
    for n in range(3):
        write_picture(tmp_path / "images" / f"P_{n}.png", noise(16, 16 + n)[:, :16])
        mask_HW = np.where(labels(n)[1] == 2, 77, 2 * (labels(n)[1] == 1)).astype(np.uint8)
        write_picture(tmp_path / "masks" / f"P_{n}.png", mask_HW)
    if not lacks:
        assert find_slices(tmp_path, label=label)["tumour_pixels"].tolist() == [20, 20, 20]
        assert check(tmp_path, label=label).summary["labels"] == {"2": 1, "77": 1}
        return
    known = "2, 77" if "77" in label else "2, others from 40 on"
    message = f"--label names label {lacks}, which no mask holds (they hold {known})"
    assert message in refused(lambda: find_slices(tmp_path, label=label))


def begun(data: Data, run: Run) -> Run:
    parts = assign_split(data, SWEEP.split, print, run)
    data.table[parts.columns] = parts
    open_run(run, SWEEP, data, made_up=False, command="")
    return run


def test_a_run_keeps_its_label_and_resumes_with_no_other(brats: Path, tmp_path: Path) -> None:
    data = read_data(str(brats), "auto", print, "1+4")
    run = begun(data, Run(tmp_path / "s"))
    assert run.settings()["data"]["label"] == "1+4"
    table = read_slices(run.slices)
    pack = open_pack(table, brats, image_size=16, channels=1)  # as a trial opens it
    areas = pack.masks_NHW.reshape(len(table), -1).sum(axis=1)
    assert areas.tolist() == table["tumour_pixels"].tolist()
    begun(read_data(str(brats), "auto", print, "1+4"), run)
    other = read_data(str(brats), "auto", print, "whole")
    assert refused(lambda: begun(other, run)) == (
        f"{run.path} holds a sweep with --label 1+4, not with --label whole; give --label 1+4 as "
        "before, or choose another --name"
    )
    whole = open_pack(other.table, brats, image_size=16, channels=1)
    assert whole.masks_NHW.sum() > pack.masks_NHW.sum()
    assert fingerprint(other.table, brats) != fingerprint(table, brats)


def test_a_run_that_was_begun_before_there_were_labels_resumes(tmp_path: Path) -> None:
    for n in range(4):
        write_volume(tmp_path / f"d/P{n}/flair.nii", noise(3, 16, 16 + n)[..., :16])
        write_volume(tmp_path / f"d/P{n}/seg.nii", (labels(n) > 0).astype(np.uint8))
    run = begun(read_data(str(tmp_path / "d"), "auto", print), Run(tmp_path / "s"))
    settings = read_json(run.sweep)
    del settings["data"]["label"]
    write_json(run.sweep, settings)
    table = pd.read_csv(run.slices).drop(columns=["label", "orientation"])
    table.to_csv(run.slices, index=False)
    begun(replace(read_data(str(tmp_path / "d"), "auto", print)), run)
    assert "label" not in read_json(run.sweep)["data"]
    packed = open_pack(read_slices(run.slices), tmp_path / "d", image_size=16, channels=1)
    assert packed.masks_NHW.any()


def test_masks_that_mark_by_1_and_by_255_in_one_patient_are_told(tmp_path: Path) -> None:
    for n in range(3):
        write_picture(tmp_path / "images" / f"P_{n}.png", noise(16, 16 + n)[:, :16])
        mask_HW = (labels(0)[1] > 0).astype(np.uint8) * (255 if n else 1)
        write_picture(tmp_path / "masks" / f"P_{n}.png", mask_HW)
    assert (
        "masks of 1 patient mark tumour by 1 in some slices and by 255 in others, both are read "
        "as tumour: P"
    ) in check(tmp_path).notes


def test_palettes_that_give_a_label_another_colour_are_noted(tmp_path: Path) -> None:
    """As programs write them that number the colours of each picture anew."""
    red, green = [255, 0, 0], [0, 255, 0]
    labels_HW1 = blob(top=1)[..., None] + 2 * np.roll(blob(top=1), 5, 0)[..., None]
    for n, colours in enumerate(([red, green], [red, green], [green, red])):
        write_picture(tmp_path / "images" / f"P{n}_1.png", noise(16, 16))
        (tmp_path / "masks").mkdir(exist_ok=True)
        content = png(labels_HW1, PALETTE, 8, palette=np.array([[0, 0, 0], *colours]))
        (tmp_path / "masks" / f"P{n}_1.png").write_bytes(content)
    unlike = (
        "1 of 3 masks have other colours for their labels than the first one with them, so --label "
        "may choose other tissue: masks/P2_1.png has #00ff00 for 1, masks/P0_1.png #ff0000"
    )
    assert unlike in check(tmp_path, label="1").notes
    assert unlike not in check(tmp_path, label="whole").notes
