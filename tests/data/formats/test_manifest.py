"""A manifest gives what file names do not; a row that is wrong is a problem with its line."""

from pathlib import Path

import numpy as np
import pytest

from brainseg.data.formats.detect import find_slices
from brainseg.data.readers.images import read_image
from tests.support.scans import (
    as_lgg,
    blob,
    noise,
    problems,
    write_picture,
    write_volume,
)


def write_pair(root: Path, name: str) -> None:
    write_picture(root / "images" / f"{name}.png", noise(16, 16))
    write_picture(root / "masks" / f"{name}.png", blob())


def write_manifest(root: Path, *rows: str, header: str = "image,mask,patient") -> Path:
    path = root / "scans.csv"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return path


def test_a_manifest_gives_all_that_file_names_do_not(tmp_path: Path) -> None:
    write_pair(tmp_path, "x")
    write_pair(tmp_path, "y")
    write_picture(tmp_path / "images" / "z.png", noise(16, 16))
    write_manifest(
        tmp_path,
        'images/x.png,masks/x.png,"Łódź, <1>",4,Munich,0.9 x 0.8 x 5',
        'images/y.png|images/z.png,masks/y.png,"Łódź, <1>",5,,',
        header="Image, mask ,patient,slice,site,spacing",
    )
    slices = find_slices(tmp_path)
    assert slices["patient"].tolist() == ["Łódź, <1>"] * 2
    assert slices["slice"].tolist() == [4, 5]
    assert slices["site"].tolist() == ["Munich", ""]
    mm = slices[["row_mm", "column_mm", "slice_mm"]]
    assert mm.iloc[0].tolist() == [0.9, 0.8, 5.0]
    assert mm.iloc[1].isna().all()
    assert read_image(tmp_path, slices["image"][1]).shape == (16, 16, 2)


def test_in_a_manifest_of_volumes_slice_numbers_continue_through_a_patient_s_second_scan(
    tmp_path: Path,
) -> None:
    for name, count in (("a", 3), ("b", 2), ("c", 2)):
        write_volume(tmp_path / f"{name}.nii.gz", noise(count, 16, 16))
        write_volume(tmp_path / f"{name}_m.nii.gz", np.stack([blob()] * count))
    rows = [f"{name}.nii.gz,{name}_m.nii.gz,{who}" for name, who in zip("abc", "PQP", strict=True)]
    write_manifest(tmp_path, *rows)
    slices = find_slices(tmp_path)
    assert slices.groupby("patient")["slice"].agg(list).to_dict() == {
        "P": [1, 2, 3, 4, 5],
        "Q": [1, 2],
    }
    assert slices["index"].tolist() == [0, 1, 2, 0, 1, 0, 1]


def test_spacing_may_stand_in_columns_of_its_own(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    header = "image,mask,patient,row_mm,column_mm,slice_mm"
    write_manifest(tmp_path, "images/P_1.png,masks/P_1.png,P,0.5,0.6,", header=header)
    mm = find_slices(tmp_path)[["row_mm", "column_mm", "slice_mm"]].iloc[0]
    assert mm.tolist()[:2] == [0.5, 0.6]
    assert np.isnan(mm["slice_mm"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("images/P_1.png,masks/P_1.png,,,", "a row must have an image, a mask and a patient, "),
        (
            "images/P_2.png,masks/P_1.png,P,,",
            "a row must name files of this data folder by their paths in it, ",
        ),
        (
            "../P_1.png,masks/P_1.png,P,,",
            "a row must name files of this data folder by their paths in it, ",
        ),
        ("images/P_1.png,masks/P_1.png,P,x,", "a row must have a slice number, "),
        ("images/Q.png,masks/P_1.png,P,,", "a row must have a slice number, "),
        (
            "images/P_1.png,masks/P_1.png,P,,1 x 2",
            "a spacing must be three numbers in mm, as 0.9 x 0.9 x 5, ",
        ),
        ("images/P_1.png,masks/P_1.png,P,,1 x 0 x 2", "a spacing must be above 0 mm, "),
        ("a.nii,masks/P_1.png,P,,", "image and mask must both be pictures, or both volumes, "),
        ("a.nii,a.nii,P,3,", "a volume must have no slice number, "),
        ("images/P_1.png,masks/P_1.png,,1,", "a row must have an image, a mask and a patient, "),
        ("images/P_1.png", "a row must have as many cells as the header, "),
        ("images/P_1.png,masks/P_1.png,P, Q,1,", "a row must have as many cells as the header, "),
    ],
)
def test_a_row_that_is_wrong_is_a_problem_with_its_line(
    tmp_path: Path, cells: str, message: str
) -> None:
    write_pair(tmp_path, "P_1")
    write_pair(tmp_path, "Q")
    write_volume(tmp_path / "a.nii", noise(2, 8, 8))
    good = "images/P_1.png,masks/P_1.png,P,1,"
    write_manifest(tmp_path, good, cells, header="image,mask,patient,slice,spacing")
    (listed,) = problems(tmp_path)
    assert listed.startswith(message + "scans.csv line 3 ")
    assert listed.endswith("; correct the row")


def test_a_manifest_takes_precedence_over_the_layout_that_it_describes(
    tmp_path: Path, phantoms: Path
) -> None:
    as_lgg(phantoms, tmp_path / "data")
    image = sorted((tmp_path / "data").glob("*/*_1.tif"))[0].relative_to(tmp_path / "data")
    row = f"{image},{str(image).replace('.tif', '_mask.tif')},P"
    write_manifest(tmp_path / "data", row)
    assert find_slices(tmp_path / "data")["patient"].tolist() == ["P"]
    assert len(find_slices(tmp_path / "data", "lgg")) > 1


def test_two_manifests_are_a_problem(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    write_manifest(tmp_path, "images/P_1.png,masks/P_1.png,P").rename(tmp_path / "old.csv")
    write_manifest(tmp_path, "images/P_1.png,masks/P_1.png,P")
    rule = "the root must hold exactly one manifest (a CSV file with columns image, mask, patient)"
    assert problems(tmp_path) == [
        f"{rule}, old.csv is one of 2; keep exactly one",
        f"{rule}, scans.csv is one of 2; keep exactly one",
    ]


def test_a_manifest_that_is_not_a_table_is_a_problem(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    write_manifest(tmp_path, "images/P_1.png,masks/P_1.png,P", "x" * 200_000)
    (listed,) = problems(tmp_path)
    assert listed == (
        "a table must have quotes that close, and cells below 131,072 characters, scans.csv line 3 "
        "does not; correct the row; rows after it were not read"
    )


@pytest.mark.parametrize("text", ["./{}", "{}", "images/../{}", "/{}", ".\\{}"])
def test_files_may_be_written_in_other_ways(tmp_path: Path, text: str) -> None:
    write_pair(tmp_path, "P_1")
    image = text.format("images/P_1.png").replace("/images", f"{tmp_path}/images", text[0] == "/")
    write_manifest(tmp_path, f"{image},masks\\P_1.png,P")
    assert find_slices(tmp_path)[["image", "mask"]].values.tolist() == [
        ["images/P_1.png", "masks/P_1.png"]
    ]


def test_an_absolute_path_outside_and_a_name_in_another_case_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    rows = [f"{tmp_path.parent}/images/P_1.png,masks/P_1.png,P", "images/p_1.PNG,masks/P_1.png,P"]
    write_manifest(tmp_path, *rows)
    outside, case = problems(tmp_path)
    assert "scans.csv line 2 names '/" in outside
    assert "names 'images/p_1.PNG', which differs from images/P_1.png by case; " in case


def test_an_excel_of_the_continent_is_understood(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    text = "sep=;\r\nImage;Mask;Patient;Spacing\r\nimages\\P_1.png;masks\\P_1.png;007;1 x 2 x 5\r\n"
    (tmp_path / "m.csv").write_bytes(text.encode("utf-8-sig"))
    slices = find_slices(tmp_path)
    assert slices[["patient", "row_mm", "slice_mm"]].values.tolist() == [["007", 1.0, 5.0]]
    (tmp_path / "m.csv").write_bytes(text.replace("1 x 2", "1,5 x 2").replace(" x 5", "").encode())
    assert problems(tmp_path) == [
        "a spacing must be three numbers in mm, as 0.9 x 0.9 x 5, m.csv line 3 has '1,5 x 2'; "
        "correct the row"
    ]


def test_a_path_of_windows_is_shown_as_it_is_written(tmp_path: Path) -> None:
    write_pair(tmp_path, "P_1")
    write_manifest(tmp_path, "C:\\data\\P_1.png,masks/P_1.png,P")
    assert problems(tmp_path) == [
        "a row must name files of this data folder by their paths in it, scans.csv line 2 names "
        "'C:\\data\\P_1.png'; correct the row"
    ]
