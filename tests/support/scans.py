"""Scans written to disk in every format and layout, for tests that read them back."""

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import find_slices, scan
from brainseg.data.readers.images import read_image
from brainseg.data.readers.masks import read_mask
from brainseg.data.readers.problems import Refused

UNCOMPRESSED, LZW = 1, 5


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Numbers over the whole range of the type, or about 0 if it is a float's."""
    rng = np.random.default_rng(zlib.crc32(repr(shape).encode()))
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def blob(height: int = 16, width: int = 16, top: int = 255) -> NDArray[np.uint8]:
    """A mask with a square of tumour, a sixteenth of it."""
    mask_HW = np.zeros((height, width), np.uint8)
    mask_HW[height // 4 : height // 2, width // 4 : width // 2] = top
    return mask_HW


def write_picture(path: Path, pixels: NDArray[Any], compression: int = UNCOMPRESSED) -> Path:
    """PNG or TIFF, red first in ``pixels`` as in the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[-1]) if pixels.ndim == 3 else None
    flags = (cv2.IMWRITE_TIFF_COMPRESSION, compression) if "tif" in path.suffix else ()
    assert cv2.imwrite(str(path), pixels if order is None else pixels[..., order], flags)
    return path


def write_volume(
    path: Path, voxels_SHW: NDArray[Any], spacing_mm: tuple[float, ...] = (5.0, 0.9, 0.8)
) -> Path:
    """NIfTI whose slices along its third axis are those of ``voxels_SHW``, or of SHWC.

    ``spacing_mm`` is from slice to slice, row to row and column to column.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = (2, 1, 0, 3)[: voxels_SHW.ndim]
    affine = np.diag([*spacing_mm[::-1], 1.0])
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels_SHW.transpose(axes)), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def write_slice(
    root: Path, patient: str, number: int, tumour_pixels: int = 0, top: int = 255
) -> tuple[Path, Path]:
    """One 8x10 slice in the LGG layout; returns the paths of the image and of its mask."""
    mask_HW = np.zeros((8, 10), np.uint8)
    mask_HW.flat[:tumour_pixels] = top
    image = write_picture(
        root / patient / f"{patient}_{number}.tif", np.full((8, 10, 3), number % 256, np.uint8)
    )
    return image, write_picture(image.with_name(f"{image.stem}_mask.tif"), mask_HW)


def patients_of(phantoms: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images SHWC and masks SHW of each patient."""
    patients = {}
    for patient, rows in find_slices(phantoms).groupby("patient"):
        images = np.stack([read_image(phantoms, image) for image in rows["image"]])
        patients[str(patient)] = (
            images,
            np.stack([read_mask(phantoms, mask) for mask in rows["mask"]]),
        )
    return patients


def as_lgg(phantoms: Path, root: Path) -> None:
    shutil.copytree(phantoms, root)


def as_pairs(phantoms: Path, root: Path) -> None:
    for patient, (images, masks) in patients_of(phantoms).items():
        for n, (image_HWC, mask_HW) in enumerate(zip(images, masks, strict=True), start=1):
            write_picture(root / "images" / f"{patient}_{n}.png", image_HWC)
            write_picture(root / "masks" / f"{patient}_{n}.tif", mask_HW)


def as_pairs_in_folders(phantoms: Path, root: Path) -> None:
    for patient, (images, masks) in patients_of(phantoms).items():
        for n, (image_HWC, mask_HW) in enumerate(zip(images, masks, strict=True), start=1):
            write_picture(root / "images" / patient / f"slice {n:03}.png", image_HWC)
            write_picture(root / "masks" / patient / f"slice {n:03}.png", mask_HW)


def as_manifest(phantoms: Path, root: Path) -> None:
    as_pairs_in_folders(phantoms, root)
    rows = [
        {
            "image": path.relative_to(root).as_posix(),
            "mask": path.relative_to(root).as_posix().replace("images/", "masks/"),
            "patient": path.parent.name,
        }
        for path in sorted(root.glob("images/*/*.png"))
    ]
    pd.DataFrame(rows).to_csv(root / "scans.csv", index=False)


def as_nnunet(phantoms: Path, root: Path) -> None:
    for patient, (images, masks) in patients_of(phantoms).items():
        for channel in range(3):
            path = root / "imagesTr" / f"{patient}_{channel:04}.nii.gz"
            write_volume(path, images[..., channel])
        write_volume(root / "labelsTr" / f"{patient}.nii.gz", masks)
    describe(root)


def as_nnunet_of_pictures(phantoms: Path, root: Path) -> None:
    for patient, (images, masks) in patients_of(phantoms).items():
        for n, (image_HWC, mask_HW) in enumerate(zip(images, masks, strict=True), start=1):
            for channel in range(3):
                path = root / "imagesTr" / f"{patient}_{n:03}_{channel:04}.png"
                write_picture(path, image_HWC[..., channel])
            write_picture(root / "labelsTr" / f"{patient}_{n:03}.png", mask_HW)
    cases = len(list((root / "labelsTr").iterdir()))
    describe(root, file_ending=".png", numTraining=cases)


def describe(root: Path, **changes: Any) -> None:
    """nnU-Net's dataset.json."""
    about = {
        "channel_names": {"0": "pre", "1": "FLAIR", "2": "post"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(about | changes))


def as_nifti(phantoms: Path, root: Path, suffix: str = ".nii.gz") -> None:
    for patient, (images, masks) in patients_of(phantoms).items():
        for channel, name in enumerate(("a_pre", "b_flair", "c_post")):
            write_volume(root / patient / f"{patient}_{name}{suffix}", images[..., channel])
        write_volume(root / patient / f"{patient}_seg{suffix}", masks)


def problems(root: Path) -> list[str]:
    """What is wrong with the listing, a sentence each."""
    return [str(problem) for problem in scan(root).problems]


def refused_reading(work: Callable[..., Any], root: Path, name: str, *where: int) -> str:
    with pytest.raises(Refused) as error:
        work(root, name, *where)
    assert error.value.problem.file == name
    return str(error.value)
