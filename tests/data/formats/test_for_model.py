"""A model predicts what lies in a folder, in a manifest or in files; masks are optional."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.formats.for_model import Images, find_images
from brainseg.data.table import COLUMNS
from tests.support.scans import blob, noise, write_picture, write_volume


def pictures(root: Path, *names: str) -> list[Path]:
    return [write_picture(root / name, noise(12, 16, 3) + len(name)) for name in names]


def volumes(root: Path, *names: str, channels: int = 1) -> list[Path]:
    voxels = noise(3, 8, 9, channels) if channels > 1 else noise(3, 8, 9)
    return [write_volume(root / name, voxels) for name in names]


def cases(images: Images) -> dict[str, list[tuple[str, str]]]:
    """Image and mask of each slice, by case; of a volume its files once."""
    held: dict[str, list[tuple[str, str]]] = {}
    for patient, image, mask in images.table[["patient", "image", "mask"]].to_numpy().tolist():
        if (image, mask) not in held.setdefault(patient, []):
            held[patient].append((image, mask))
    return held


def test_a_data_set_is_listed_as_for_a_sweep(phantoms: Path) -> None:
    images = find_images([phantoms], 3)
    for_sweep = find_slices(phantoms)
    assert images.layout == "lgg" and not images.problems
    named = ["patient", "slice", "image", "mask"]
    assert images.table[named].equals(for_sweep[named])
    assert list(images.table) == list(COLUMNS)


def test_without_its_masks_it_has_the_same_patients_and_slices(
    phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms, tmp_path / "p", ignore=shutil.ignore_patterns("*_mask*"))
    images, for_sweep = find_images([tmp_path / "p"], 3), find_slices(phantoms)
    assert images.layout == "files" and (images.table["mask"] == "").all()
    named = ["patient", "slice", "image"]
    assert images.table[named].equals(for_sweep[named])


def test_a_picture_is_a_case_of_its_own_unless_its_name_is_numbered(tmp_path: Path) -> None:
    pictures(tmp_path, "scan.png", "P1_2.png", "P1_3.jpg", "sub/7.tif", "sub/9.tif", "12.png")
    assert cases(find_images([tmp_path], 3)) == {
        "scan": [("scan.png", "")],
        "P1": [("P1_2.png", ""), ("P1_3.jpg", "")],
        "sub": [("sub/7.tif", ""), ("sub/9.tif", "")],
        "12": [("12.png", "")],
    }


def test_masks_are_never_images(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    for name in ("a_mask.png", "b_seg.png", "lost_mask.png"):
        write_picture(tmp_path / name, blob(12, 16))
    images = find_images([tmp_path], 3)
    assert cases(images) == {"a": [("a.png", "a_mask.png")], "b": [("b.png", "b_seg.png")]}
    assert [str(p) for p in images.problems] == [
        "a mask must have its image, lost_mask.png has none; add the image, or remove the mask"
    ]


def test_a_folder_of_masks_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "masks/a_1.png", blob(12, 16))
    with pytest.raises(ValueError, match="is a folder of masks by its name"):
        find_images([tmp_path / "masks"], 3)
    write_picture(tmp_path / "x/a_1_mask.png", blob(12, 16))
    assert find_images([tmp_path / "x"], 3).table.empty


def test_pairs_may_lack_masks(tmp_path: Path) -> None:
    pictures(tmp_path, "images/P1_1.png", "images/P1_2.png", "images/odd.png")
    write_picture(tmp_path / "masks/P1_1.png", blob(12, 16))
    images = find_images([tmp_path], 3)
    assert images.layout == "pairs"
    assert cases(images) == {
        "P1": [("images/P1_1.png", "masks/P1_1.png"), ("images/P1_2.png", "")],
        "odd": [("images/odd.png", "")],
    }


@pytest.mark.parametrize("top", ["imagesTs/", ""])
def test_nnunet_names_join_channels(tmp_path: Path, top: str) -> None:
    names = [f"{top}C{n}_000{channel}.nii.gz" for n in (1, 2) for channel in (0, 1)]
    volumes(tmp_path, *names)
    assert cases(find_images([tmp_path], 2)) == {
        "C1": [("|".join(names[:2]), "")],
        "C2": [("|".join(names[2:]), "")],
    }


def test_cases_for_training_and_for_a_test_are_both_predicted(tmp_path: Path) -> None:
    volumes(tmp_path, "imagesTr/A_0000.nii", "imagesTs/B_0000.nii", "imagesTr/C_0000.nii")
    write_volume(tmp_path / "labelsTr/A.nii", np.zeros((3, 8, 9), np.uint8))
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1"}, "labels": {"t": 3}}')
    images = find_images([tmp_path], 1)
    assert not images.problems and images.channels == ("T1",)
    assert cases(images) == {
        "A": [("imagesTr/A_0000.nii", "labelsTr/A.nii")],
        "B": [("imagesTs/B_0000.nii", "")],
        "C": [("imagesTr/C_0000.nii", "")],
    }


def test_volumes_of_a_folder_are_channels_or_cases(tmp_path: Path) -> None:
    volumes(tmp_path, "P1/P1_t1.nii.gz", "P1/P1_flair.nii.gz", "P2/P2_t1.nii.gz")
    volumes(tmp_path, "P2/P2_flair.nii.gz", "P2/P2_seg.nii.gz")
    joined = find_images([tmp_path], 2, ["T1", "FLAIR"])
    assert joined.channels == ("T1", "FLAIR")
    assert cases(joined) == {
        "P1": [("P1/P1_t1.nii.gz|P1/P1_flair.nii.gz", "")],
        "P2": [("P2/P2_t1.nii.gz|P2/P2_flair.nii.gz", "P2/P2_seg.nii.gz")],
    }
    apart = find_images([tmp_path / "P1"], 1)
    assert cases(apart) == {
        "P1_flair": [("P1_flair.nii.gz", "")],
        "P1_t1": [("P1_t1.nii.gz", "")],
    }


def test_volumes_of_all_channels_lie_beside_each_other(tmp_path: Path) -> None:
    volumes(tmp_path, "A.nii", "B.nii", channels=2)
    write_volume(tmp_path / "B_seg.nii", np.zeros((3, 8, 9), np.uint8))
    assert cases(find_images([tmp_path], 2)) == {
        "A": [("A.nii", "")],
        "B": [("B.nii", "B_seg.nii")],
    }


def test_files_are_cases_or_channels_in_the_order_that_they_are_named(tmp_path: Path) -> None:
    one, two = volumes(tmp_path, "b.nii", "a.nii")
    assert cases(find_images([one], 1)) == {"b": [("b.nii", "")]}
    assert cases(find_images([one, two], 2)) == {"b": [("b.nii|a.nii", "")]}
    assert cases(find_images([one, two], 1)) == {"a": [("a.nii", "")], "b": [("b.nii", "")]}
    (picture,) = pictures(tmp_path, "x_3.png")
    assert cases(find_images([picture], 3)) == {"x": [("x_3.png", "")]}


def test_a_manifest_needs_images_alone(tmp_path: Path) -> None:
    pictures(tmp_path, "s/a.png", "s/b.png")
    (tmp_path / "list.csv").write_text("image\ns/a.png\ns/b.png\ns/gone.png\n")
    images = find_images([tmp_path / "list.csv"], 3)
    assert cases(images) == {"s/a": [("s/a.png", "")], "s/b": [("s/b.png", "")]}
    assert "list.csv line 4 names 's/gone.png'" in str(images.problems[0])
    (tmp_path / "list.csv").write_text("image,patient,slice\ns/a.png,P1,4\ns/b.png,P1,5\n")
    assert list(cases(find_images([tmp_path], 3))) == ["P1"]


def test_files_of_other_kinds_are_named_and_documents_are_not(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png")
    for name in ("b.dcm", "c.dcm", "notes.txt", "d.bmp"):
        (tmp_path / name).write_bytes(b"1234")
    images = find_images([tmp_path], 3)
    assert [problem.file for problem in images.problems] == ["b.dcm", "d.bmp"]
    assert "b.dcm is .dcm, as 1 more; convert it" in str(images.problems[0])
    assert "notes.txt" in images.unused


@pytest.mark.parametrize(
    "name, message",
    [
        ("gone.png", "an input must exist, .*gone.png does not; check the path"),
        ("a.xyz", "an input must be a folder, a manifest .* got .*a.xyz"),
        ("empty", "an input must hold PNG, TIFF.* holds none"),
    ],
)
def test_what_is_no_input_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.xyz").write_text("1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        find_images([tmp_path / name], 3)


def test_channels_in_one_file_are_never_taken_in_another_order(tmp_path: Path) -> None:
    volumes(tmp_path, "a.nii.gz", channels=2)
    volumes(tmp_path, "c.nii.gz", "d.nii.gz")
    (tmp_path / "list.csv").write_text("image,channels\na.nii.gz,T1|FLAIR\n")
    with pytest.raises(
        ValueError, match=r"order of the model \(FLAIR, T1\), a.nii.gz has T1, FLAIR"
    ):
        find_images([tmp_path / "list.csv"], 2, ("FLAIR", "T1"))
    (tmp_path / "list.csv").write_text(
        "image,channels\na.nii.gz,T1|FLAIR\nc.nii.gz|d.nii.gz,T1|FLAIR\n"
    )
    images = find_images([tmp_path / "list.csv"], 2, ("FLAIR", "T1"))
    assert cases(images) == {"c": [("d.nii.gz|c.nii.gz", "")]}
    assert images.channels == ("FLAIR", "T1")
    assert [problem.file for problem in images.problems] == ["a.nii.gz"]
    with pytest.raises(ValueError, match=r"order of the model \(FLAIR, T2\), the input has T1"):
        find_images([tmp_path / "list.csv"], 2, ("FLAIR", "T2"))


def test_files_that_are_named_are_images_whatever_their_names_say(tmp_path: Path) -> None:
    (masked,) = volumes(tmp_path, "P1_flair_masked.nii.gz")
    assert cases(find_images([masked], 1)) == {
        "P1_flair_masked": [("P1_flair_masked.nii.gz", "")],
    }
    image, mask, copy, alone = pictures(tmp_path, "x.png", "x_mask.png", "x (1).png", "y_seg.png")
    images = find_images([image, mask, copy, alone], 3)
    assert not images.problems and not images.unused
    assert cases(images) == {
        "x": [("x.png", "x_mask.png")],
        "x (1)": [("x (1).png", "")],
        "y_seg": [("y_seg.png", "")],
    }


def test_volumes_that_are_named_pair_with_a_mask(tmp_path: Path) -> None:
    files = volumes(tmp_path, "P1.nii.gz", "P1_seg.nii.gz", "P2.nii.gz", "P2_masked.nii.gz")
    files += volumes(tmp_path, "P3_seg.nii.gz")
    images = find_images(files, 1)
    assert not images.problems and {tuple(of[0]) for of in cases(images).values()} == {
        ("P1.nii.gz", "P1_seg.nii.gz"),
        ("P2.nii.gz", ""),
        ("P2_masked.nii.gz", ""),
        ("P3_seg.nii.gz", ""),
    }


def test_a_copy_that_differs_is_a_problem(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png", "b (1).png")
    shutil.copy(tmp_path / "a.png", tmp_path / "a copy.png")
    images = find_images([tmp_path], 3)
    assert list(cases(images)) == ["a", "b"] and "2 copies of a file" in images.unused
    assert [problem.file for problem in images.problems] == ["b (1).png"]


def test_a_mask_that_is_no_mask_of_it_costs_no_image(tmp_path: Path) -> None:
    write_volume(tmp_path / "size/flair.nii.gz", noise(3, 8, 7))
    volumes(tmp_path, "two/flair.nii.gz", "two/seg.nii.gz", "two/brainmask.nii.gz")
    write_volume(tmp_path / "size/seg.nii.gz", noise(3, 4, 5))
    images = find_images([tmp_path], 1)
    assert not images.problems and list(images.unscored) == list(images.table["image"].unique())
    assert cases(images) == {
        "size/flair": [("size/flair.nii.gz", "")],
        "two/flair": [("two/flair.nii.gz", "")],
    }
    assert "must lie in one place" in images.unscored["size/flair.nii.gz"]
    assert "has brainmask.nii.gz, seg.nii.gz" in images.unscored["two/flair.nii.gz"]


def test_a_mask_that_a_manifest_names_in_vain_costs_no_image(tmp_path: Path) -> None:
    pictures(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text("image,mask\na.png,gone.png\n")
    images = find_images([tmp_path / "list.csv"], 3)
    assert cases(images) == {"a": [("a.png", "")]} and not images.problems
    assert "the row of a.png names 'gone.png'" in images.unscored["a.png"]
