"""Which slices of which patients a folder holds, whether they can be read, and who is held out.

A table has one row a slice, sorted by patient and slice number; every other module sees only it:
    patient        str, the name of the folder
    slice          int, the number at the end of the file name
    image, mask    str, paths relative to the root, with forward slashes
    tumour         int, 1 where the mask holds any tumour
    tumour_pixels  int, at the size on disk

Shapes: H rows, W columns, C channels.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

SUFFIXES = (".tif", ".tiff", ".png")
LAYOUT = "<PATIENT>/<PATIENT>_<n>.tif with <PATIENT>_<n>_mask.tif beside it"


def find_slices(root: Path) -> pd.DataFrame:
    """Return the table of an LGG folder; every mask is read, no image is.

    ValueError: not a folder, no slice in it, an image or a mask alone, a mask that cannot be read
    or is not binary, one slice twice, no slice number, a link that leaves the folder.
    """
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise ValueError(f"root must be a folder of slices, {root} {what}; give the path of one")
    root = root.resolve()
    rows = [_row(root, image, mask) for image, mask in _pairs(root)]
    table = pd.DataFrame(rows, columns=["patient", "slice", "image", "mask"])
    table = table.sort_values(["patient", "slice", "image"], ignore_index=True)
    _refuse_slices_found_twice(table)
    with ThreadPoolExecutor(max_workers=4) as pool:
        masks = pool.map(lambda name: int(read_mask(root / name).sum()), table["mask"])
        table["tumour_pixels"] = list(masks)
    table.insert(4, "tumour", (table["tumour_pixels"] > 0).astype(int))
    return table


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return image_HWC, 3 channels in the order of the file; ValueError for anything else."""
    pixels = _decode(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"an image must hold 3 channels of 8 bits, {path} holds {_kind(pixels)}; "
            "convert to 8-bit RGB"
        )
    reds_first: NDArray[np.uint8] = pixels[:, :, ::-1]  # OpenCV decodes to blue, green, red
    return reds_first


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return mask_HW of 0 and 1; ValueError unless the file is grey and binary."""
    mask_HW = _decode(path)
    if mask_HW.ndim != 2 or mask_HW.dtype != np.uint8:
        raise ValueError(
            f"a mask must hold 1 channel of 8 bits, {path} holds {_kind(mask_HW)}; "
            "convert to 8-bit grey"
        )
    top = mask_HW.max()
    if top not in (0, 1, 255) or mask_HW.min() != 0 or np.any((mask_HW != 0) & (mask_HW != top)):
        raise ValueError(
            f"a mask must hold 0 and 1, or 0 and 255, or 0 alone, {path} holds "
            f"{_histogram(mask_HW)}; threshold it, or redraw it"
        )
    tumour_HW: NDArray[np.bool_] = mask_HW != 0
    return tumour_HW.astype(np.uint8)


def split_by_patient(
    table: pd.DataFrame, *, validation: float = 0.2, test: float = 0.1, seed: int = 0
) -> pd.Series:
    """Return 'train', 'validation' or 'test' for each row; no patient is in two parts.

    Fractions are of the patients, rounded, with at least one for validation. Patients sorted by
    tumour volume are cut into as many strata as the part needs, and one is drawn from each. The
    draw depends on patients, volumes and seed, not on the order of the rows. ValueError: no
    patient left to train on, or a part without any tumour.
    """
    _refuse_fractions(validation, test)
    volumes = table.groupby("patient")["tumour_pixels"].sum().reset_index()
    patients = volumes.sort_values(["tumour_pixels", "patient"])["patient"].tolist()
    num_test = round(test * len(patients))
    num_validation = max(1, round(validation * len(patients)))
    _refuse_empty_training("patient", len(patients), num_validation, num_test)
    rng = np.random.default_rng(seed)
    test_patients = _one_per_stratum(patients, num_test, rng)
    rest = [patient for patient in patients if patient not in test_patients]
    validation_patients = _one_per_stratum(rest, num_validation, rng)
    part = dict.fromkeys(patients, "train")
    part |= dict.fromkeys(test_patients, "test") | dict.fromkeys(validation_patients, "validation")
    return _with_tumour_in_each(table, [part[patient] for patient in table["patient"]])


def split_by_slice(
    table: pd.DataFrame, *, validation: float = 0.2, test: float = 0.1, seed: int = 0
) -> pd.Series:
    """Return 'train', 'validation' or 'test' for each row, drawn slice by slice: this split leaks.

    Neighbouring slices of one patient fall on both sides, so copying the nearest training mask
    already scores about 0.79 micro Dice. It is the report's, for comparison: test is the fraction
    of all slices, validation the fraction of what is left, both rounded up (as scikit-learn does).
    ValueError: no slice left to train on, or a part without any tumour.
    """
    _refuse_fractions(validation, test)
    num_test = math.ceil(test * len(table))
    num_validation = math.ceil(validation * (len(table) - num_test))
    _refuse_empty_training("slice", len(table), num_validation, num_test)
    order = np.random.default_rng(seed).permutation(len(table))
    split = np.full(len(table), "train", dtype="<U10")
    split[order[:num_test]] = "test"
    split[order[num_test : num_test + num_validation]] = "validation"
    return _with_tumour_in_each(table, split.tolist())


def fingerprint(table: pd.DataFrame, root: Path) -> str:
    """Return 16 hex digits that change with any path, size or modification time in the table."""
    digest = hashlib.sha256()
    for name in (*table["image"], *table["mask"]):
        try:
            stat = os.stat(f"{root}/{name}")  # a third of the time of a Path
        except OSError as error:
            raise ValueError(
                f"every file of the table must be there, {root / name} is not "
                f"({error.strerror}); restore it, or list the folder again"
            ) from error
        digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
    return digest.hexdigest()[:16]


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    """Image and mask of each slice, paired by folder and stem."""
    images: dict[Path, Path] = {}
    masks: dict[Path, Path] = {}
    for path in _files(root):
        slices, key = images, path.with_suffix("")
        if key.name.lower().endswith("_mask"):
            slices, key = masks, key.with_name(key.name[: -len("_mask")])
        if key in slices:
            raise ValueError(f"a slice must be one file, got {slices[key]} and {path}; remove one")
        slices[key] = path
    if not images and not masks:
        raise ValueError(f"root must hold slices as {LAYOUT}, {root} holds none; check the path")
    _refuse_lone("an image must have its mask beside it", images, masks, "add the mask")
    _refuse_lone("a mask must have its image beside it", masks, images, "add the image")
    return [(images[key], masks[key]) for key in images]


def _files(root: Path) -> Iterator[Path]:
    """Every visible image file under root; ValueError for a link that leaves root."""
    for folder, subfolders, names in os.walk(root, onerror=_refuse_folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        for path in (Path(folder, name) for name in (*subfolders, *visible)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ValueError(
                    f"a link must stay inside {root}, {path} leads to {path.resolve()}; "
                    "copy the files in, or remove the link"
                )
            if path.name.lower().endswith(SUFFIXES) and path.name not in subfolders:
                _refuse_undecodable_name(path)
                yield path


def _row(root: Path, image: Path, mask: Path) -> tuple[str, int, str, str]:
    number = re.search(r"(?<!\d)\d{1,9}$", image.stem)
    if number is None:
        raise ValueError(
            f"the name of a slice must end in its number, got {image}; rename it like {LAYOUT}"
        )
    inside = [path.relative_to(root).as_posix() for path in (image, mask)]
    return image.parent.name, int(number[0]), inside[0], inside[1]


def _decode(path: Path) -> NDArray[Any]:
    try:
        pixels = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # raised, for one, by more than 2**30 pixels
        pixels = None
    if pixels is None:
        raise ValueError(
            f"every image and mask must be readable, {path} {_reason(path)}; "
            "restore it, or remove the slice"
        )
    return pixels


def _reason(path: Path) -> str:
    if not path.exists():
        return "is missing"
    if not os.access(path, os.R_OK):
        return "may not be read by this user"
    return "is empty" if path.stat().st_size == 0 else "cannot be decoded"


def _kind(pixels: NDArray[Any]) -> str:
    return f"{'x'.join(map(str, pixels.shape))} {pixels.dtype}"


def _histogram(mask_HW: NDArray[Any]) -> str:
    values, counts = np.unique(mask_HW, return_counts=True)
    shown = [f"{v} ({n} px)" for v, n in zip(values[:5], counts[:5], strict=True)]
    return ", ".join(shown) + (f" and {len(values) - 5} values more" if len(values) > 5 else "")


def _one_per_stratum(ordered: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Draw one of each of count consecutive, nearly equal strata."""
    if count == 0:
        return []
    strata = np.array_split(np.arange(len(ordered)), count)
    return [ordered[rng.choice(stratum)] for stratum in strata]


def _with_tumour_in_each(table: pd.DataFrame, parts: list[str]) -> pd.Series:
    split = pd.Series(parts, index=table.index, name="split")
    tumour = table["tumour"].groupby(split).sum()
    for part in tumour.index[tumour == 0]:
        raise ValueError(
            f"each part must hold a slice with tumour, {part} of {(split == part).sum()} slices "
            "holds none; take another seed or a larger fraction"
        )
    return split


def _refuse_undecodable_name(path: Path) -> None:
    shown = str(path).encode(errors="replace").decode()
    if shown != str(path):
        raise ValueError(f"a path must be UTF-8 text, got {shown}; rename it")


def _refuse_folder(error: OSError) -> None:
    raise ValueError(
        f"every folder of the root must be readable, {error.filename} is not "
        f"({error.strerror}); change its permissions"
    )


def _refuse_lone(rule: str, ours: Iterable[Path], others: Iterable[Path], remedy: str) -> None:
    lone = sorted(set(ours) - set(others))
    if lone:
        named = ", ".join(str(key) for key in lone[:3]) + (", ..." if len(lone) > 3 else "")
        raise ValueError(f"{rule}, {len(lone)} have none: {named}; {remedy}, or remove the file")


def _refuse_slices_found_twice(table: pd.DataFrame) -> None:
    twice = table[table.duplicated(["patient", "slice"], keep=False)]
    if len(twice):
        first, second = twice["image"].iloc[:2]
        raise ValueError(
            f"a patient must have one slice of each number, {len(twice)} rows share one, "
            f"as {first} and {second}; remove or rename one"
        )


def _refuse_fractions(validation: float, test: float) -> None:
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            "validation must be above 0, test 0 or more, and their sum below 1, "
            f"got validation={validation} and test={test}; try 0.2 and 0.1"
        )


def _refuse_empty_training(unit: str, total: int, num_validation: int, num_test: int) -> None:
    if num_validation + num_test >= total:
        raise ValueError(
            f"at least one {unit} must be left to train on, {total} less {num_validation} for "
            f"validation and {num_test} for test leave none; add {unit}s or lower the fractions"
        )
