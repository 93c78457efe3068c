"""Whatever a scan is stored as, its pack holds the same 8 bits, and a trial learns from them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from brainseg.config.hyperparameters import Plain, TrialConfig
from brainseg.data.fingerprint import fingerprint
from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.intensity import intensity_range, to_bytes
from brainseg.data.pack.store import open_pack
from brainseg.data.phantom import write_phantoms
from brainseg.records.run import Run
from brainseg.records.trial_folder import TrialDir
from brainseg.training.trial import run_trial
from tests.support.scans import as_nifti, blob, noise, write_picture, write_volume
from tests.support.tasks import task_of
from tests.support.written import write_json


def packed(root: Path, cache: Path, image_size: int = 16, channels: int = 1) -> dict[str, Any]:
    """The arrays of the pack of a folder, by their names on disk."""
    table = find_slices(root)
    open_pack(table, root, image_size=image_size, channels=channels, cache=cache)
    (folder,) = (cache / "packs").glob("[!.]*")
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


def refused(root: Path, cache: Path, channels: int = 1) -> str:
    with pytest.raises(ValueError) as error:
        packed(root, cache, channels=channels)
    return str(error.value)


def write_slices(root: Path, patient: str, images_SHW: NDArray[Any]) -> None:
    """Slices of a patient, each with a tumour, in the LGG layout."""
    for n, image in enumerate(images_SHW, start=1):
        write_picture(root / patient / f"{patient}_{n}.tif", image)
        write_picture(root / patient / f"{patient}_{n}_mask.tif", blob(*image.shape[:2]))


# Grey levels


def test_8_bits_are_taken_as_they_are(tmp_path: Path) -> None:
    images = noise(3, 16, 16) // 3
    write_slices(tmp_path / "root", "p", images)
    pack = packed(tmp_path / "root", tmp_path / "cache")
    assert np.array_equal(pack["slices"][..., 0], images)
    assert np.array_equal(pack["levels"], np.tile([0.0, 255.0], (3, 1, 1)))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_types_are_spread_over_8_bits_patient_by_patient(tmp_path: Path, dtype: type) -> None:
    brightest = {"p": 1000, "q": 40_000}
    for patient, top in brightest.items():
        ramp = np.linspace(0, top, 3 * 64 * 64).reshape(3, 64, 64).astype(dtype)
        ramp[1, 0, :3] = 60_000  # hot pixels
        write_slices(tmp_path / "root", patient, ramp)
    pack = packed(tmp_path / "root", tmp_path / "cache", image_size=64)
    for rows, top in zip((slice(0, 3), slice(3, 6)), brightest.values(), strict=True):
        images = pack["slices"][rows, ..., 0]
        assert (images.min(), images.max()) == (0, 255)
        assert abs(float(images.mean()) - 127.5) < 1
        assert pack["levels"][rows, 0, 1] == pytest.approx(top, rel=0.01)
        assert (pack["levels"][rows, 0, 0] == 0).all()


def test_negative_levels_begin_at_the_lowest() -> None:
    image_HWC = np.linspace(-1000, 1000, 2001).reshape(-1, 1, 1)
    levels = intensity_range([image_HWC])
    assert levels[0] == pytest.approx([-1000, 998])
    assert to_bytes(image_HWC, levels)[[0, 1000, 2000], 0, 0].tolist() == [0, 128, 255]


def test_each_channel_has_levels_of_its_own() -> None:
    image_HWC = noise(8, 8, 2, dtype=np.uint16)
    image_HWC[..., 1] //= 100
    levels = intensity_range([image_HWC, image_HWC])
    assert levels[0, 1] > 50 * levels[1, 1]
    assert to_bytes(image_HWC, levels).max(axis=(0, 1)).tolist() == [255, 255]


def test_an_empty_channel_stays_black() -> None:
    image_HWC = np.zeros((8, 8, 1), np.uint16)
    assert not to_bytes(image_HWC, intensity_range([image_HWC])).any()


def test_a_patient_whose_images_differ_in_type_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "root", "p", noise(2, 16, 16))
    write_picture(tmp_path / "root" / "p" / "p_2.tif", noise(16, 16, dtype=np.uint16))
    assert refused(tmp_path / "root", tmp_path / "cache") == (
        "the images of a patient must have one number type, p/p_2.tif holds uint16 and "
        "another image of p uint8; export all alike"
    )


# Channels and sizes


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("image_size", [8, 16, 40])
def test_one_to_four_channels_are_packed_beside_the_mask(
    tmp_path: Path, channels: int, image_size: int
) -> None:
    voxels = noise(2, 16, 16, channels)
    write_volume(tmp_path / "root" / "p" / "scan.nii", voxels)
    write_volume(tmp_path / "root" / "p" / "mask.nii", np.stack([blob()] * 2))
    pack = packed(tmp_path / "root", tmp_path / "cache", image_size, channels)
    assert pack["slices"].shape == (2, image_size, image_size, channels + 1)
    assert pack["histograms"].shape == (2, channels, 256)
    assert (pack["histograms"].sum(axis=2) == image_size**2).all()
    assert pack["slices"][..., -1].mean() == pytest.approx(1 / 16, rel=0.05)
    if image_size == 16:
        assert np.array_equal(pack["slices"][..., :-1], voxels)


def test_a_number_of_channels_that_is_not_declared_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    write_slices(tmp_path / "root", "p", noise(2, 16, 16, 4))
    assert refused(tmp_path / "root", tmp_path / "cache", channels=3) == (
        "images must have the declared number of channels (3), p/p_1.tif has 4; declare it with "
        "--set channels=4, or export all images alike"
    )


def test_slices_of_any_size_become_one_centred_square(tmp_path: Path) -> None:
    for patient, shape in (("p", (16, 16)), ("q", (20, 12)), ("r", (64, 64))):
        write_slices(tmp_path / "root", patient, np.full((1, *shape), 200, np.uint8))
    images = packed(tmp_path / "root", tmp_path / "cache")["slices"][..., 0]
    assert (images[[0, 2]] == 200).all()
    middle, edge = images[1, :, 5:11], images[1, :, [0, -1]]
    assert (middle == 200).all() and not edge.any()


def test_a_pack_follows_its_table_even_where_patients_are_mixed(tmp_path: Path) -> None:
    for patient in "pq":
        write_slices(tmp_path, patient, noise(3, 16, 16, dtype=np.uint16))
    table = find_slices(tmp_path)
    mixed = table.sample(frac=1, random_state=0)
    options: dict[str, Any] = {"image_size": 16, "channels": 1, "cache": tmp_path / "cache"}
    there = open_pack(table, tmp_path, **options)
    here = open_pack(mixed, tmp_path, **options)
    assert np.array_equal(here.slices_NHWD, there.slices_NHWD[mixed.index])


# One patient, several formats


def trained(root: Path, folder: Path, config: TrialConfig) -> TrialDir:
    """A trial of a run on the slices of ``root``; the last patient validates."""
    table = find_slices(root)
    last = table["patient"] == table["patient"].iloc[-1]
    table["part"] = last.map({True: "validation", False: "train"})
    run = Run(folder)
    folder.mkdir()
    table.to_csv(run.slices, index=False)
    write_json(run.sweep, {"data": {"root": str(root), "fingerprint": fingerprint(table, root)}})
    task = task_of(run, "t", config)
    run_trial(task, lambda row: None, torch.device("cpu"))
    reason = task.folder.ending().reason
    assert not reason, reason
    return task.folder


TINY = TrialConfig(
    model=Plain(width=4, depth=2, dropout=0.0), image_size=32, batch_size=4, epochs=1
)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_and_slices_of_the_same_patients_give_the_same_pack_and_the_same_table(
    tmp_path: Path, suffix: str
) -> None:
    slices = write_phantoms(tmp_path / "tif", patients=3, slices=6, size=48)
    volumes = tmp_path / "nii"
    as_nifti(slices, volumes, suffix)
    of_slices = packed(slices, tmp_path / "cache-tif", 32, channels=3)
    of_volumes = packed(volumes, tmp_path / "cache-nii", 32, channels=3)
    for name in ("slices", "histograms", "levels"):
        assert of_slices[name].tobytes() == of_volumes[name].tobytes()
    tables = [
        pd.read_csv(trained(root, tmp_path / f"run-{root.name}", TINY).patients)
        for root in (slices, volumes)
    ]
    assert tables[0]["tp"].sum() + tables[0]["fp"].sum() > 0
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_trial_learns_from_any_number_of_channels(tmp_path: Path, channels: int) -> None:
    for n in range(3):
        folder = tmp_path / "root" / f"P{n}"
        write_volume(folder / "scan.nii", noise(4, 32, 32, channels, dtype=np.uint16))
        write_volume(folder / "mask.nii", np.stack([blob(32, 32)] * 4))
    config = replace(TINY, channels=channels)
    folder = trained(tmp_path / "root", tmp_path / "run", config)
    with np.load(folder.panels) as panels:
        assert panels["images"].shape == (1, 32, 32, channels)
