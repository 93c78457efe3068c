"""A mask is written in its image's place, whatever the header says."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.readers.geometry import Geometry
from brainseg.data.readers.nifti import cut, geometry
from brainseg.data.writers.nifti import write_like

KEPT = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"),
    *("srow_x", "srow_y", "srow_z", "pixdim", "xyzt_units", "toffset", "descrip"),
)
OBLIQUE = np.array(
    [[0.9, 0.1, -0.3, -80], [-0.15, 1.1, 0.4, -110], [0.2, -0.3, 4.8, -60], [0, 0, 0, 1]]
)


def written_like(path: Path, source: Path, *, of: Any = np.uint8) -> tuple[Any, NDArray[Any]]:
    """The file that holds which voxels of the first channel are above 0, and these."""
    about: Geometry = geometry(source, source.name)
    slices = [
        (cut(source, source.name, index, about.axis)[..., 0] > 0).astype(of)
        for index in range(about.shape[about.axis])
    ]
    write_like(path, slices, source, about.axis)
    return nibabel.load(path), np.asarray(nibabel.load(source).dataobj) > 0


def same_header(one: Any, other: Any) -> None:
    for name in KEPT:
        assert one.header[name].tobytes() == other.header[name].tobytes(), name
    assert np.array_equal(one.affine, other.affine)


def saved(path: Path, shape: tuple[int, ...], affine: Any, **settings: Any) -> Path:
    voxels = np.random.default_rng(len(shape)).integers(-5, 5, shape).astype(np.int16)
    kind = settings.get("kind", nibabel.Nifti1Image)
    image = kind(voxels, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scanner"
    image.set_sform(affine, settings.get("sform", 2))
    image.set_qform(settings.get("qform_affine", affine), settings.get("qform", 1))
    if "slope" in settings:
        image.header.set_slope_inter(settings["slope"], 3)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_an_oblique_volume_keeps_its_header(tmp_path: Path, suffix: str, kind: Any) -> None:
    source = saved(tmp_path / f"a{suffix}", (7, 8, 5), OBLIQUE, kind=kind)
    mask, truth = written_like(tmp_path / f"m{suffix}", source)
    assert type(mask) is kind and mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj), truth)
    same_header(mask, nibabel.load(source))


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_axes_in_any_order_and_direction_come_back(tmp_path: Path, axes: Any) -> None:
    for number, signs in enumerate(product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.diag(np.multiply(signs, (1, 1.2, 5)))[:, list(axes)]
        source = saved(tmp_path / f"{number}.nii", (4, 5, 6), affine)
        mask, truth = written_like(tmp_path / f"m{number}.nii", source)
        assert np.array_equal(np.asarray(mask.dataobj), truth)
        same_header(mask, nibabel.load(source))


@pytest.mark.parametrize(
    "shape, of_mask",
    [
        ((6, 5, 4, 1), (6, 5, 4, 1)),
        ((6, 5, 4, 3), (6, 5, 4)),
        ((6, 5, 4, 1, 2), (6, 5, 4)),
        ((6, 5), (6, 5)),
        ((6, 5, 1), (6, 5, 1)),
    ],
)
def test_one_frame_stays_an_axis_and_channels_go(
    tmp_path: Path, shape: tuple[int, ...], of_mask: tuple[int, ...]
) -> None:
    source = saved(tmp_path / "a.nii", shape, np.diag([1.0, 1.0, 4.0, 1.0]))
    mask, truth = written_like(tmp_path / "m.nii", source)
    assert mask.shape == of_mask
    first = truth.reshape(*of_mask, -1)[..., 0]
    assert np.array_equal(np.asarray(mask.dataobj), first)
    same_header(mask, nibabel.load(source))


@pytest.mark.parametrize("codes", list(product((0, 1, 4), repeat=2)))
def test_codes_stay_and_so_does_a_qform_that_differs(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    qform = np.diag([2.0, 1.0, 3.0, 1.0])
    source = saved(
        tmp_path / "a.nii.gz",
        (5, 6, 4),
        np.diag([-1.0, 1.0, 4.0, 1.0]),
        sform=codes[0],
        qform=codes[1],
        qform_affine=qform,
    )
    mask, truth = written_like(tmp_path / "m.nii.gz", source)
    assert np.array_equal(np.asarray(mask.dataobj), truth)
    same_header(mask, nibabel.load(source))


def test_a_slope_is_not_taken_over_and_probabilities_are_floats(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.nii", (6, 5, 4), OBLIQUE, slope=0.5)
    mask, truth = written_like(tmp_path / "m.nii", source)
    assert np.array_equal(np.asarray(mask.dataobj), truth)
    image, _ = written_like(tmp_path / "p.nii.gz", source, of=np.float32)
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(image.dataobj), truth.astype(np.float32))


def test_the_other_order_of_bytes_stays(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.nii", (6, 5, 4), OBLIQUE)
    image = nibabel.load(source)
    swapped = nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header.as_byteswapped())
    nibabel.save(swapped, tmp_path / "b.nii")
    for of in (np.uint8, np.float32):
        mask, truth = written_like(tmp_path / "m.nii", tmp_path / "b.nii", of=of)
        assert mask.header.endianness == swapped.header.endianness
        assert np.array_equal(np.asarray(mask.dataobj), truth)
