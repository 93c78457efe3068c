"""Masks are called as the layout of their images has it."""

from pathlib import Path

import pytest

from brainseg.inference.predict.names import mask_name, overlay_name, probability_name


@pytest.mark.parametrize(
    "layout, image, mask",
    [
        ("lgg", "P1/P1_3.tif", "P1/P1_3_mask.tif"),
        ("files", "a.JPG", "a_mask.png"),
        ("files", "a_0001.png", "a_0001_mask.png"),
        ("files", "scan.nii", "scan_mask.nii"),
        ("files", "C1_0000.nii.gz|C1_0001.nii.gz", "C1_mask.nii.gz"),
        ("files", "flair.nii.gz|t1.nii.gz", "root_mask.nii.gz"),
        ("nifti", "P1/P1_flair.nii.gz|P1/P1_t1.nii.gz", "P1/P1_mask.nii.gz"),
        ("nifti", "P1/flair.nii.gz|P1/t1.nii.gz", "P1/P1_mask.nii.gz"),
        ("manifest", "s/a_t1.nii|s/a_t2.nii", "s/a_mask.nii"),
        ("manifest", "s/P_1a.nii|s/P_1b.nii", "s/P_1_mask.nii"),
        ("pairs", "images/P1/3.png", "masks/P1/3.png"),
        ("pairs", "images/P1_3.jpeg", "masks/P1_3.png"),
        ("nnunet", "imagesTs/C1_0000.nii.gz|imagesTs/C1_0001.nii.gz", "labelsTs/C1.nii.gz"),
        ("nnunet", "imagesTr/C1.nii.gz", "labelsTr/C1.nii.gz"),
        ("nnunet", "imagesTr/C1_0000.png", "labelsTr/C1.png"),
    ],
)
def test_a_mask_has_the_name_of_its_layout(layout: str, image: str, mask: str) -> None:
    assert mask_name(layout, image, Path("/data/root")) == mask


def test_what_lies_beside_masks_lies_in_folders_of_its_own() -> None:
    root = Path("/data/root")
    assert probability_name("P1/P1_3.jpg", root) == "probabilities/P1/P1_3_probability.png"
    assert overlay_name("P1/P1_3.tif", root, -1) == "overlays/P1/P1_3.png"
    assert overlay_name("s.nii.gz", root, 6) == "overlays/s_007.png"
