"""FLAIR is where the data set's layout says it is; where it does not, modality dropout is off."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from brainseg.cli.lr_range import trial_for
from brainseg.config.hyperparameters import Augmentation, Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import Split, Sweep
from brainseg.data.channels import LGG, dropout_is_off, flair_channel, recorded_names, stand_in
from brainseg.data.dataset import read_data
from brainseg.data.formats.detect import scan
from brainseg.data.partition import assign_split
from brainseg.data.phantom import write_phantoms
from brainseg.data.quality.check import check
from brainseg.launch.job import Job
from brainseg.launch.run_folder import open_run
from brainseg.launch.validate import modality_dropout_off
from brainseg.records.files import read_json
from brainseg.records.run import Run
from brainseg.report.data_terminal import facts
from brainseg.report.sections.slices import shown_channel
from brainseg.training.trial import Trial
from tests.support.scans import (
    as_lgg,
    as_manifest,
    as_nifti,
    as_nnunet,
    as_pairs,
    describe,
    noise,
    problems,
    write_picture,
)
from tests.support.tasks import task_of
from tests.support.written import write_json

Copy = Callable[[Path, Path], None]
CONFIG = TrialConfig(
    model=Plain(width=4, depth=2),
    augment=Augmentation(missing=0.5),
    image_size=32,
    batch_size=4,
    epochs=1,
)
SWEEP = Sweep(name="s", question="?", space=Space(CONFIG, search=()), split=Split(test=0.0))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five patients in the LGG layout."""
    return write_phantoms(tmp_path_factory.mktemp("data") / "p", patients=5, slices=4, size=32)


def with_flair_first(phantoms: Path, root: Path) -> None:
    as_nnunet(phantoms, root)
    describe(root, channel_names={"2": "T1", "0": "FLAIR", "1": "T1 Gd"})


def with_two_flairs(phantoms: Path, root: Path) -> None:
    as_nnunet(phantoms, root)
    describe(root, channel_names={"0": "FLAIR", "1": "FLAIR_bias", "2": "T1"})


def as_brats(phantoms: Path, root: Path) -> None:
    as_nifti(phantoms, root)
    for name, other in (("a_pre", "t1c"), ("b_flair", "t1n"), ("c_post", "t2f")):
        for path in root.glob(f"*/*{name}.nii.gz"):
            path.rename(path.with_name(path.name.replace(name, other)))


def as_manifest_with_names(phantoms: Path, root: Path) -> None:
    as_manifest(phantoms, root)
    table = pd.read_csv(root / "scans.csv")
    table.assign(Channels="T1|T2| T2-flair").to_csv(root / "scans.csv", index=False)


COPIES: list[tuple[Copy, tuple[str, ...], int | None]] = [
    (as_lgg, LGG, 1),
    (as_nnunet, ("pre", "FLAIR", "post"), 1),
    (with_flair_first, ("FLAIR", "T1 Gd", "T1"), 0),
    (with_two_flairs, ("FLAIR", "FLAIR_bias", "T1"), None),
    (as_nifti, ("a_pre", "b_flair", "c_post"), 1),
    (as_brats, ("t1c", "t1n", "t2f"), 2),
    (as_manifest_with_names, ("T1", "T2", "T2-flair"), 2),
    (as_manifest, (), None),
    (as_pairs, (), None),
]
each_copy = pytest.mark.parametrize(
    ("copy", "names", "flair"), COPIES, ids=[copy.__name__ for copy, _, _ in COPIES]
)


def begun(root: Path, folder: Path) -> Run:
    folder.mkdir()
    run, data = Run(folder), read_data(str(root), "auto", lambda line: None)
    data.table["part"] = assign_split(data, SWEEP.split, lambda line: None)["part"]
    open_run(run, SWEEP, data, made_up=True, command="")
    return run


def shown_by(run: Run) -> Any:
    """The channel that each channel of every slice shows in an epoch of a trial of the run."""
    trial = Trial(task_of(run, "0000", CONFIG), torch.device("cpu"))
    return trial.data.shown_channels(1).numpy()


@each_copy
def test_trial_page_and_check_take_the_channel_that_the_layout_names_flair(
    tmp_path: Path, phantoms: Path, copy: Copy, names: tuple[str, ...], flair: int | None
) -> None:
    root = tmp_path / "data"
    copy(phantoms, root)
    assert scan(root).channels == names
    run = begun(root, tmp_path / "run")
    data = read_json(run.sweep)["data"]
    assert data["channels"] == list(names)
    shown_NC = shown_by(run)
    off = modality_dropout_off(data, [CONFIG])
    if flair is None:
        assert (shown_NC == np.arange(3)).all() and "is off for this data set" in off
    else:
        assert (shown_NC[:, flair] == flair).all() and not off
        assert all(set(shown_NC[:, k]) == {k, flair} for k in {0, 1, 2} - {flair})
    image_NHWC = np.zeros((1, 32, 32, 3), np.uint8)
    called = names[flair or 0] if names else "channel 1 of 3"
    assert shown_channel(read_json(run.sweep), image_NHWC) == (flair or 0, called)
    findings = check(root)
    (shown_names,) = facts(findings.summary)["channels"]
    assert shown_names == (
        ", ".join(f"{n} is {x}" for n, x in enumerate(names)) or "of unknown names"
    )
    assert {outlier.channels for outlier in findings.outliers} == {(flair or 0,)}


@pytest.mark.parametrize(
    ("name", "is_flair"),
    [
        *((name, True) for name in ("FLAIR", "flair", "T2 Flair", "t2flair", "b_flair", "T2F")),
        *((name, False) for name in ("t1", "T2", "", "t2fs", "act2f", "post-contrast")),
    ],
)
def test_flair_is_known_by_its_usual_names(name: str, is_flair: bool) -> None:
    assert flair_channel(["t1", name], 2) == (1 if is_flair else None)


def test_names_of_another_number_of_channels_say_nothing(tmp_path: Path) -> None:
    assert flair_channel(LGG, 4) is None
    for patient in "pq":
        for n in (1, 2):
            image = tmp_path / patient / f"{patient}_{n}.tif"
            write_picture(image, noise(16, 16 + n)[:, :16])
            write_picture(image.with_name(f"{image.stem}_mask.tif"), np.zeros((16, 16), np.uint8))
    findings = check(tmp_path)
    assert "a tumour slice has" not in facts(findings.summary)
    assert facts(findings.summary)["channels"] == [
        "of unknown names: the layout names 3, pre-contrast, FLAIR, post-contrast"
    ]


def test_the_sentence_says_what_is_off_why_and_how_to_say_it() -> None:
    assert dropout_is_off({"layout": "nnunet", "channels": ["T1", "T2"]}, 2) == (
        "modality dropout (augment.missing) is off for this data set: it must know which channel "
        "is FLAIR, and the images have 2 channels named 'T1', 'T2'; name one FLAIR in nnU-Net's "
        "dataset.json, in the names of NIfTI files, or in the column channels of a manifest, as "
        "T1|FLAIR|T2"
    )
    unknown = {"layout": "pairs", "channels": []}
    assert "images have 3 channels without known names; " in dropout_is_off(unknown, 3)
    assert dropout_is_off(unknown, 1) == "", "one channel has nothing to drop"
    without = replace(CONFIG, augment=Augmentation(missing=0.0))
    assert modality_dropout_off(unknown, [without]) == ""


@pytest.mark.parametrize("layout", ["lgg", "nnunet", None])
def test_a_run_begun_before_channel_names_were_recorded_resumes_as_it_began(
    tmp_path: Path, phantoms: Path, layout: str | None
) -> None:
    run = begun(phantoms, tmp_path / "run")
    before = shown_by(run)
    known = read_json(run.sweep)
    del known["data"]["channels"]
    write_json(run.sweep, known)
    begun_again = read_data(str(phantoms), "auto", lambda line: None)
    begun_again.table["part"] = assign_split(begun_again, SWEEP.split, lambda line: None, run)[
        "part"
    ]
    open_run(run, SWEEP, begun_again, made_up=True, command="")  # not refused
    assert (shown_by(run) == before).all()
    old = {"layout": layout} if layout else {}
    assert stand_in(old, 3) == 1 and stand_in(old, 1) is None and not dropout_is_off(old, 3)
    assert recorded_names(old) == (() if layout == "nnunet" else LGG)


def test_rows_of_a_manifest_that_name_channels_differently_are_a_problem(
    tmp_path: Path, phantoms: Path
) -> None:
    as_manifest(phantoms, tmp_path)
    table = pd.read_csv(tmp_path / "scans.csv")
    names = ["T1|FLAIR|T2", "", "FLAIR|T1|T2", *[""] * (len(table) - 3)]
    table.assign(channels=names).to_csv(tmp_path / "scans.csv", index=False)
    assert problems(tmp_path) == [
        "every row must name the same channels, or none, scans.csv line 4 names 'FLAIR|T1|T2', "
        "an earlier row 'T1|FLAIR|T2'; correct the row"
    ]


def test_a_range_test_says_that_modality_dropout_is_off(
    tmp_path: Path, phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_pairs(phantoms, tmp_path / "pairs")
    printed = []
    for root in (phantoms, tmp_path / "pairs"):
        run = Run(tmp_path / f"run of {root.name}")
        run.path.mkdir()
        trial_for(run, SWEEP, Job(data=str(root), storage=tmp_path), flatten(CONFIG))
        printed.append(capsys.readouterr().out)
    assert "modality dropout" not in printed[0]
    assert printed[1].startswith("modality dropout (augment.missing) is off for this data set: ")
