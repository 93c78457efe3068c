"""Phantoms are laid out like the LGG data set, repeat exactly, and cannot be solved by a threshold.

The comment beside a bound is what was measured on the 12 patients of `cohort`.
"""

import re
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from brainseg.data.formats.detect import find_slices
from brainseg.data.phantom import draw_patient, write_phantoms

Patient = tuple[np.ndarray, np.ndarray]  # images S,H,W,C in 0..255 and masks S,H,W, True in tumour


MIDDLE = np.s_[7:13, 20:44, 20:44]  # of 16 slices of 64 pixels: brain, without skull and face


@pytest.fixture(scope="module")
def cohort() -> list[Patient]:
    drawn = (draw_patient(np.random.default_rng((0, k)), slices=16, size=64) for k in range(12))
    return [(images, masks == 255) for images, masks in drawn]


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def dice(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))


def away_from(masks_SHW: np.ndarray) -> np.ndarray:
    """True where no tumour is within two pixels, so that its own blurred border does not count."""
    near = [cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) for mask in masks_SHW]
    return np.stack(near) == 0


def test_the_folder_is_laid_out_like_the_lgg_data_set(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "deep" / "phantoms", patients=3, slices=16, size=48)
    table = find_slices(root)
    assert sorted(set(table["patient"])) == ["PHANTOM_0001", "PHANTOM_0002", "PHANTOM_0003"]
    for patient, rows in table.groupby("patient"):
        assert list(rows["slice"]) == list(range(1, len(rows) + 1))
        assert 14 <= len(rows) <= 18
        for row in rows.itertuples():
            assert row.image == f"{patient}/{patient}_{row.slice}.tif"
            assert row.mask == f"{patient}/{patient}_{row.slice}_mask.tif"


def test_images_are_rgb_and_masks_grey_both_uncompressed(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "phantoms", patients=1, slices=4, size=48)
    for path in root.glob("*/*.tif"):
        with Image.open(path) as image:
            assert image.info["compression"] == "raw"
            assert image.size == (48, 48)
            assert image.mode == ("L" if path.stem.endswith("_mask") else "RGB")


def test_a_reader_of_rgb_finds_flair_in_the_second_channel(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "phantoms", patients=1, slices=6, size=64)
    masks = sorted(root.glob("*/*_mask.tif"))
    mask_SHW = np.stack([np.asarray(Image.open(path)) == 255 for path in masks])
    images = [path.with_name(path.name.replace("_mask", "")) for path in masks]
    image_SHWC = np.stack([np.asarray(Image.open(path)) for path in images])
    pre, flair, post = (np.median(image_SHWC[mask_SHW][:, c]) for c in range(3))
    assert flair > 1.3 * pre and flair > 1.3 * post


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = contents(write_phantoms(tmp_path / "a", patients=2, slices=8, size=32, seed=5))
    again = contents(write_phantoms(tmp_path / "b", patients=2, slices=8, size=32, seed=5))
    other = contents(write_phantoms(tmp_path / "c", patients=2, slices=8, size=32, seed=6))
    assert first == again
    assert first["PHANTOM_0001/PHANTOM_0001_4.tif"] != other["PHANTOM_0001/PHANTOM_0001_4.tif"]
    assert first["PHANTOM_0001/PHANTOM_0001_4.tif"] != first["PHANTOM_0002/PHANTOM_0002_4.tif"]


def test_a_patient_does_not_depend_on_how_many_follow(tmp_path: Path) -> None:
    few = contents(write_phantoms(tmp_path / "few", patients=2, slices=8, size=32))
    many = contents(write_phantoms(tmp_path / "many", patients=4, slices=8, size=32))
    patients = {name for name in few if name.startswith("PHANTOM")}
    assert len(patients) >= 2 * 2 * 7
    assert all(few[name] == many[name] for name in patients)


def test_the_same_call_again_rewrites_nothing(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "phantoms", patients=2, slices=4, size=32)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_phantoms(root, patients=2, slices=4, size=32) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients=1, slices=3, size=32)
    assert len(list(tmp_path.glob("PHANTOM_0001/*.tif"))) == 6


def test_concurrent_writers_agree_and_no_reader_sees_half_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "phantoms"
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(write_phantoms, root, patients=3, slices=4, size=32) for _ in range(3)]
        while wait(calls, timeout=0.001).not_done:
            assert not root.exists() or len(list(root.glob("*/*.tif"))) == 3 * 4 * 2
    assert [call.result() for call in calls] == [root] * 3
    assert list(tmp_path.iterdir()) == [root]


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        ValueError, match=r"must be missing, empty, or .* no phantoms\.json .*; choose"
    ):
        write_phantoms(tmp_path, patients=1, slices=3, size=32)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "phantoms").write_text("no folder")
    with pytest.raises(ValueError, match="must be missing, empty, or"):
        write_phantoms(tmp_path / "phantoms", patients=1, slices=3, size=32)


def test_phantoms_of_other_arguments_are_refused(tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients=1, slices=3, size=32)
    with pytest.raises(ValueError, match=r'"seed": 0.* instead of .*"seed": 1'):
        write_phantoms(tmp_path, patients=1, slices=3, size=32, seed=1)


def test_phantoms_that_lost_a_slice_are_refused(tmp_path: Path) -> None:
    write_phantoms(tmp_path, patients=1, slices=3, size=32)
    (tmp_path / "PHANTOM_0001" / "PHANTOM_0001_2.tif").unlink()
    with pytest.raises(ValueError, match=r'"files": 6.* instead of .*"files": 5'):
        write_phantoms(tmp_path, patients=1, slices=3, size=32)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"patients": 0}, "patients must be at least 1, got 0; try 1"),
        ({"patients": 1, "slices": 2}, "slices must be at least 3, got 2; try 3"),
        ({"patients": 1, "size": 31}, "size must be at least 32, got 31; try 32"),
        ({"patients": 1, "seed": -1}, "seed must be at least 0, got -1; try 0"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, int], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        write_phantoms(tmp_path / "phantoms", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("slices", "size"), [(3, 32), (4, 33), (9, 50)])
def test_masks_are_binary_and_never_empty_even_in_the_smallest_patients(
    slices: int, size: int
) -> None:
    for k in range(4):
        images, masks = draw_patient(np.random.default_rng(k), slices, size)
        assert images.shape == (slices, size, size, 3) and images.dtype == np.uint8
        assert masks.shape == (slices, size, size) and masks.dtype == np.uint8
        assert set(np.unique(masks)) == {0, 255}


def test_a_third_of_the_slices_has_tumour(cohort: list[Patient]) -> None:
    shares = [masks.any(axis=(1, 2)).mean() for _, masks in cohort]
    assert min(shares) > 0.15  # 0.31
    assert max(shares) < 0.6  # 0.44
    assert 0.28 < np.mean(shares) < 0.42  # 0.35; 0.35 in the 110 real patients


def test_tumours_are_about_one_percent_of_the_pixels_and_vary(cohort: list[Patient]) -> None:
    shares = [masks.mean() for _, masks in cohort]
    assert 0.005 < np.mean(shares) < 0.03  # 0.017; 0.010 in the real patients
    assert max(shares) > 3 * min(shares)  # 8 times


def test_neighbouring_slices_look_alike(cohort: list[Patient]) -> None:
    for images, _ in cohort:
        brain = images[5:].astype(float)
        near, far = (np.abs(brain[gap:] - brain[:-gap]).mean() for gap in (1, 4))
        assert near < 0.75 * far  # 0.53 to 0.59


def test_tumour_is_bright_in_flair_and_dark_before_contrast(cohort: list[Patient]) -> None:
    for images, masks in cohort:
        brain = images[MIDDLE][away_from(masks)[MIDDLE]]
        tumour = images[masks]
        assert np.median(tumour[:, 1]) > 1.4 * np.median(brain[:, 1])  # 1.8 to 2.2
        assert np.median(tumour[:, 0]) < 0.9 * np.median(brain[:, 0])  # 0.58 to 0.79


def test_the_three_channels_show_different_contrasts(cohort: list[Patient]) -> None:
    for images, _ in cohort:
        pre, flair, post = images[images.max(axis=3) > 30].T
        assert np.corrcoef(pre, flair)[0, 1] < 0.93  # 0.65 to 0.87
        assert np.corrcoef(post, flair)[0, 1] < 0.93  # 0.67 to 0.87
        assert np.corrcoef(pre, post)[0, 1] < 0.995  # 0.96 to 0.99


def test_some_tumours_enhance_after_contrast_and_some_do_not(cohort: list[Patient]) -> None:
    after_contrast = [images[masks][:, 2] for images, masks in cohort]
    ratios = [np.percentile(grey, 98) / np.median(grey) for grey in after_contrast]
    assert min(ratios) < 1.5  # 1.3
    assert max(ratios) > 2.0  # 2.5


def test_harmless_spots_are_as_bright_in_flair_as_the_tumour(cohort: list[Patient]) -> None:
    for images, masks in cohort:
        as_bright = images[..., 1] >= 0.9 * np.median(images[masks][:, 1])
        harmless = as_bright & away_from(masks)
        assert harmless.sum() > 0.4 * masks.sum()  # 1.0 to 11 times, most of it scalp and face
        assert harmless[MIDDLE].sum() >= 5  # 15 to 247 pixels, within the brain


def test_no_threshold_on_flair_finds_the_tumours(cohort: list[Patient]) -> None:
    scores = [
        np.mean([dice(images[..., 1] > grey, masks) for images, masks in cohort])
        for grey in range(10, 250, 4)
    ]
    assert max(scores) < 0.45  # 0.37; a U-Net reaches 0.86 at this size in 8 epochs on 18 patients
