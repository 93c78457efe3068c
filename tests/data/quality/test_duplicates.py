"""A slice saved anew under another name is recognised; two patients are not taken for one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import scan
from brainseg.data.phantom import draw_patient
from brainseg.data.quality.duplicates import (
    Twins,
    group_patients,
    hash_slice,
    hash_slices,
    repeats,
    twins,
)
from brainseg.data.readers.images import read_image
from brainseg.data.splits.draw import split_by_patient

Image = NDArray[Any]
SLICES = 8


def saved_as_jpeg(image_HWC: Image) -> Image:
    coded = cv2.imencode(".jpg", image_HWC, (cv2.IMWRITE_JPEG_QUALITY, 50))[1]
    return cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)


def resized(share: float) -> Callable[[Image], Image]:
    def resize(image_HWC: Image) -> Image:
        return cv2.resize(image_HWC, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)

    return resize


def as_bytes(levels: Image) -> Image:
    return np.clip(levels, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image.copy(),
    "brighter": lambda image: as_bytes(image * 1.3 + 10),
    "darker": lambda image: as_bytes(image * 0.6),
    "gamma 0.7": lambda image: as_bytes(255 * (image / 255) ** 0.7),
    "gamma 1.5": lambda image: as_bytes(255 * (image / 255) ** 1.5),
    "jpeg": saved_as_jpeg,
    "15/16 of the size": resized(15 / 16),
    "half the size": resized(0.5),
    "noise": lambda image: as_bytes(image + np.random.default_rng(0).normal(0, 5, image.shape)),
    "16 bits": lambda image: image.astype(np.uint16) * 257,
    "floats": lambda image: image.astype(np.float32) / 255 - 0.5,
    "grey of the mean": lambda image: as_bytes(image.mean(axis=2, keepdims=True).round()),
}


@pytest.fixture(scope="module")
def patients() -> list[list[Image]]:
    """Three made-up patients of eight slices, in float because a phantom's shades differ."""
    rngs = (np.random.default_rng(seed) for seed in range(3))
    return [list(draw_patient(rng, SLICES, 96)[0]) for rng in rngs]


def named(*slices: list[Image]) -> tuple[pd.DataFrame, list[Any]]:
    """A table of patients a, b, c, ... and the hashes of their slices."""
    rows = [(chr(97 + k), n) for k, images in enumerate(slices) for n in range(1, len(images) + 1)]
    table = pd.DataFrame(rows, columns=["patient", "slice"])
    return table, [hash_slice(image) for images in slices for image in images]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_in_another_patient_is_found(
    patients: list[list[Image]], change: str
) -> None:
    a, b, _ = patients
    pairs = twins(*named(a, [CHANGES[change](image) for image in (*b, a[3])]))
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 2 * SLICES)]
    assert pairs[0].equal == (change == "none")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_real_slice_is_found(lgg: Path, change: str) -> None:
    middle = (
        scan(lgg).table.groupby("patient")["image"].apply(lambda names: names.iloc[len(names) // 2])
    )
    images = [np.ascontiguousarray(read_image(lgg, name)) for name in middle]
    pairs = twins(*named(*([i] for i in images), *([CHANGES[change](i)] for i in images)))
    assert [(pair.first, pair.second) for pair in pairs] == [(n, n + 24) for n in range(24)]


def test_no_two_made_up_patients_are_taken_for_one(patients: list[list[Image]]) -> None:
    assert twins(*named(*patients)) == []


def test_no_two_real_patients_are_taken_for_one(lgg: Path) -> None:
    table = scan(lgg).table
    hashes = hash_slices(table, lgg)
    assert twins(table, hashes) == [] and repeats(table, hashes) == []
    assert group_patients(table, hashes) == {name: name for name in table["patient"]}


@pytest.mark.parametrize("padding", [-32768, -1024, 65535, 1e6])
def test_padding_that_patients_share_makes_no_twins_and_hides_none(
    patients: list[list[Image]], padding: float
) -> None:
    """Nor do slices of which only the padding has a value, nor padding of every third slice."""

    def padded(images: list[Image], every: int = 1) -> list[Image]:
        scans = [image[..., :1] * np.float32(5) for image in images]
        for scan_HWC in scans[::every]:
            scan_HWC[:20] = scan_HWC[:, -10:] = padding
        return scans

    a, b, c = patients
    black = [np.zeros_like(a[0])]
    pairs = twins(*named(padded(a + black), padded(b + black), padded([*c, b[3]])))
    assert [(pair.first, pair.second) for pair in pairs] == [(SLICES + 4, 3 * SLICES + 2)]
    pairs = twins(*named(padded(a, every=3), padded(b, every=3), padded([a[1], a[2]], every=2)))
    assert [(pair.first, pair.second) for pair in pairs][-1:] == [(2, 2 * SLICES + 1)]


def test_neighbouring_slices_of_one_patient_are_no_twins(patients: list[list[Image]]) -> None:
    a = patients[0]
    again = [as_bytes(image * 1.1) for image in a]
    assert twins(*named([*a, *again])) == [] and repeats(*named([*a, *again])) == []


def test_blank_slices_are_no_twins_nor_near_black_ones(patients: list[list[Image]]) -> None:
    a, b, _ = patients
    black = np.zeros_like(a[0])
    speckle = np.zeros_like(a[0])
    speckle[40:44, 40:44] = 3
    assert twins(*named([*a, black, speckle], [*b, black, speckle])) == []


def test_a_slice_that_occurs_twice_in_one_patient_is_a_repeat(patients: list[list[Image]]) -> None:
    a, black = patients[0], np.zeros_like(patients[0][0])
    table, hashes = named([*a, black, a[2], black, a[2]])
    assert repeats(table, hashes) == [
        Twins(2, SLICES + 1, equal=True),
        Twins(SLICES + 1, SLICES + 3, equal=True),
    ]


def test_patients_who_share_a_slice_are_linked_over_any_number_of_steps(
    patients: list[list[Image]],
) -> None:
    a, b, c = patients
    table, hashes = named(a, b, [*c[4:], *b[:2]], [*c[:4], a[5], b[6]])
    assert group_patients(table, hashes) == {"a": "a", "b": "a", "c": "a", "d": "a"}
    apart = named(a, b, c)
    assert group_patients(*apart) == {"a": "a", "b": "b", "c": "c"}


def test_linked_patients_stay_on_one_side_of_the_split(patients: list[list[Image]]) -> None:
    a, b, c = patients
    table, hashes = named(a, b[:4], c[:4], b[4:], c[4:], [a[1], *(as_bytes(i // 2) for i in b)])
    table["tumour_pixels"], table["tumour"], table["site"] = 5, 1, ""
    groups = group_patients(table, hashes)
    assert groups["a"] == groups["b"] == groups["d"] == groups["f"] != groups["c"]
    for seed in range(5):
        split = split_by_patient(table, validation=0.3, test=0, seed=seed, groups=groups)
        assert (split.groupby(table["patient"].map(groups)).nunique() == 1).all()


def test_names_alone_link_patients() -> None:
    table = pd.DataFrame({"patient": ["P1", "p1", "q"], "slice": 1})
    hashes = [hash_slice(np.full((8, 8, 1), n, np.uint8)) for n in range(3)]
    assert group_patients(table, hashes) == {"P1": "P1", "p1": "P1", "q": "q"}


def test_a_hash_is_of_the_pixels_not_of_the_file(
    tmp_path: Path, patients: list[list[Image]]
) -> None:
    for name in ("a_1.tif", "a_2.png"):
        cv2.imwrite(str(tmp_path / name), patients[0][0])
    names = ["a_1.tif", "a_2.png"]
    table = pd.DataFrame(
        {"patient": "a", "image": names, "index": -1, "axis": -1, "orientation": ""}
    )
    first, second = hash_slices(table, tmp_path)
    assert first.exact == second.exact
    assert (tmp_path / names[0]).read_bytes() != (tmp_path / names[1]).read_bytes()


def test_an_image_that_cannot_be_hashed_is_named(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"patient": ["a"], "image": ["a_1.tif"], "index": -1, "axis": -1, "orientation": ""}
    )
    with pytest.raises(ValueError, match=r"a_1\.tif is missing; "):
        hash_slices(table, tmp_path)


def test_an_empty_table_has_no_twins() -> None:
    table = pd.DataFrame({"patient": []})
    assert twins(table, []) == [] and repeats(table, []) == [] and group_patients(table, []) == {}
