"""Each fault that data can have is brought about, found in one pass with all others, and named."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.data.formats.detect import find_slices
from brainseg.data.pack.store import open_pack
from brainseg.data.quality.check import check
from tests.support.faults import SLICES, UNREADABLE, Data, change, only, reported

CHANNELS = "all images must have the same number of channels"


def test_nothing_is_wrong_with_made_up_patients(data: Data) -> None:
    findings = check(data.root)
    assert reported(findings) == [] and findings.notes == []
    assert (len(findings.table), findings.summary["patients"]) == (24, 4)


# Corrupt, truncated, empty or missing


@pytest.mark.parametrize("which", ["image", "mask"])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.write_bytes(b"no picture at all"), "cannot be decoded"),
        (lambda path: path.write_bytes(path.read_bytes()[:-900]), "cannot be decoded"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
    ids=["corrupt", "truncated", "empty"],
)
def test_a_file_that_cannot_be_read_is_named(
    data: Data, which: str, spoil: Callable[[Path], Any], expected: str
) -> None:
    path = getattr(data, which)(2, 3)
    spoil(path)
    findings = check(data.root)
    faults = [fault for file, _, fault in reported(findings) if file == data.name(path)]
    assert any(fault.startswith(expected) for fault in faults)
    assert len(findings.table) == 23


def test_an_image_without_mask_and_a_mask_without_image_are_named(data: Data) -> None:
    data.mask(1, 2).unlink()
    data.image(3, 4).unlink()
    assert reported(check(data.root)) == [
        (data.name(data.image(1, 2)), "an image must have its mask", "has none"),
        (data.name(data.mask(3, 4)), "a mask must have its image", "has none"),
    ]


def test_all_bad_files_are_listed_in_one_pass(data: Data) -> None:
    bad = [data.image(1, 1), data.mask(1, 1), data.image(2, 2), data.mask(3, 3), data.image(4, 6)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:300])
    findings = check(data.root)
    assert [file for file, _, _ in reported(findings)] == [data.name(path) for path in bad]
    assert {rule for _, rule, _ in reported(findings)} == {UNREADABLE}
    assert findings.summary["slices"] == 20


def test_a_truncated_volume_is_named_once_not_once_a_slice(tmp_path: Path) -> None:
    for name, top in (("scan", 200), ("seg", 2)):
        voxels = np.random.default_rng(0).integers(0, top, (12, 12, 8), np.uint8)
        image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0]))
        (tmp_path / "p").mkdir(exist_ok=True)
        nibabel.save(image, tmp_path / "p" / f"{name}.nii.gz")
    path = tmp_path / "p" / "scan.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    problems = check(tmp_path).problems
    assert [problem.file for problem in problems].count("p/scan.nii.gz") == 1


# Sizes, channels, bits


def test_mixed_sizes_of_patients_are_a_note(data: Data) -> None:
    for number in range(1, SLICES + 1):
        for path in (data.image(2, number), data.mask(2, number)):
            change(path, lambda pixels: cv2.copyMakeBorder(pixels, 0, 8, 0, 0, 0))
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.summary["sizes"] == {"48x48": 18, "56x48": 6}
    assert "slices have 2 sizes, all will be padded to squares and resized: " in findings.notes[0]


def test_mixed_sizes_of_one_patient_are_a_note_since_training_takes_them(data: Data) -> None:
    for path in (data.image(2, 3), data.mask(2, 3)):
        change(path, lambda pixels: pixels[:40])
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        "slices have 2 sizes, all will be padded to squares and resized: 48x48 (3 patients), "
        "40x48 and 48x48 (1 patient: PHANTOM_0002)"
    ]
    open_pack(find_slices(data.root), data.root, image_size=16)


def grey(image_HWC: NDArray[Any]) -> NDArray[Any]:
    return image_HWC[..., 1]


def with_alpha(image_HWC: NDArray[Any]) -> NDArray[Any]:
    return cv2.cvtColor(image_HWC, cv2.COLOR_BGR2BGRA)


def with_16_bits(image_HWC: NDArray[Any]) -> NDArray[Any]:
    return image_HWC.astype(np.uint16) * 16


@pytest.mark.parametrize(
    ("how", "rule", "expected"),
    [
        (grey, CHANNELS, "has 1, most have 3"),
        (with_alpha, CHANNELS, "has 4, most have 3"),
        (
            with_16_bits,
            "the images of a patient must have one number type",
            "holds uint16 and another image of PHANTOM_0003 uint8",
        ),
    ],
)
def test_an_image_of_another_kind_is_named_and_training_refuses_it_too(
    data: Data, how: Callable[[NDArray[Any]], NDArray[Any]], rule: str, expected: str
) -> None:
    change(data.image(3, 2), how)
    assert only(check(data.root)) == (data.name(data.image(3, 2)), rule, expected)
    with pytest.raises(ValueError, match=f"{data.image(3, 2).name} {expected.split()[0]}"):
        open_pack(find_slices(data.root), data.root, image_size=16)


def test_number_types_that_differ_between_patients_are_a_note_since_training_takes_them(
    data: Data,
) -> None:
    for number in range(1, SLICES + 1):
        change(data.image(3, number), with_16_bits)
    findings = check(data.root)
    assert reported(findings) == []
    assert findings.notes == [
        "images have 2 number types, 8 bits are taken as they are and others are scaled by "
        "patient: uint8 (3 patients), uint16 (1 patient: PHANTOM_0003)"
    ]
    open_pack(find_slices(data.root), data.root, image_size=16)


@pytest.mark.parametrize(("how", "channels"), [(grey, "1"), (with_alpha, "4"), (with_16_bits, "3")])
def test_what_all_images_share_is_no_problem(
    data: Data, how: Callable[[NDArray[Any]], NDArray[Any]], channels: str
) -> None:
    for patient in range(1, 5):
        for number in range(1, SLICES + 1):
            change(data.image(patient, number), how)
    findings = check(data.root)
    assert reported(findings) == [] and findings.summary["channels"] == {channels: 24}
    if how is with_alpha:
        assert findings.notes[0].startswith(
            "channel 3 holds a single value (transparency, or a missing sequence) in 4 of 4"
        )


def test_blank_slices_are_named_by_patient_and_number(data: Data) -> None:
    for patient, number in ((1, 1), (3, 1), (3, 2)):
        change(data.image(patient, number), np.zeros_like)
    said = [note for note in check(data.root).notes if "blank" in note]
    assert said == ["3 of 24 slices are blank: PHANTOM_0001 (1); PHANTOM_0003 (1, 2)"]


# Masks


def test_masks_of_ones_and_of_255_are_both_taken(data: Data) -> None:
    number = data.with_tumour(1)
    before = check(data.root)
    change(data.mask(1, number), lambda mask_HW: mask_HW // 255)
    after = check(data.root)
    assert reported(after) == [] and after.table["tumour_pixels"].equals(
        before.table["tumour_pixels"]
    )


@pytest.mark.parametrize(
    ("how", "rule", "expected"),
    [
        (lambda m: cv2.GaussianBlur(m, (5, 5), 1), "a mask must hold 0 and 1, or 0 and 255", "px)"),
        (lambda m: m // 255 * 3, "a mask must hold 0 and 1, or 0 and 255", "3 ("),
        (lambda m: np.dstack([m, m // 2, m]), "a mask must be grey", "is coloured: "),
        (lambda m: 255 - m, "a mask must mark the tumour, at most half", "marks 100%"),
        (
            lambda m: m[:24],
            "a mask must have the size of its image",
            "is 24x48 and PHANTOM_0002/PHANTOM_0002_{n}.tif is 48x48",
        ),
    ],
    ids=["anti-aliased", "a label", "coloured", "inverted", "another shape"],
)
def test_a_file_that_is_no_mask_is_named(
    data: Data, how: Callable[[NDArray[Any]], NDArray[Any]], rule: str, expected: str
) -> None:
    number = data.with_tumour(2)
    change(data.mask(2, number), how)
    file, broken, sentence = only(check(data.root))
    assert file == data.name(data.mask(2, number)) and broken.startswith(rule)
    assert expected.format(n=number) in sentence


# Outside the root, bombs


def test_a_link_out_of_the_root_is_named_and_not_followed(data: Data, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tif"
    shutil.copy(data.image(1, 1), outside)
    data.image(1, 1).unlink()
    data.image(1, 1).symlink_to(outside)
    findings = check(data.root)
    rule = "every file must lie inside the data folder"
    assert (data.name(data.image(1, 1)), rule, f"leads to {outside}") in reported(findings)
    assert len(findings.table) == 23


def test_a_manifest_cannot_name_a_file_outside_the_root(data: Data, tmp_path: Path) -> None:
    shutil.copy(data.image(1, 1), tmp_path / "outside.tif")
    inside = [data.name(path) for path in (data.image(2, 1), data.mask(2, 1), data.mask(1, 1))]
    rows = [f"{inside[0]},{inside[1]},q", f"../outside.tif,{inside[2]},p"]
    (data.root / "list.csv").write_text("\n".join(["image,mask,patient", *rows]))
    findings = check(data.root)
    assert only(findings)[0] == "list.csv line 3"
    assert findings.table["image"].tolist() == [inside[0]]


def test_a_file_that_a_manifest_names_and_that_is_missing_is_named(data: Data) -> None:
    rows = [f"{data.name(data.image(1, n))},{data.name(data.mask(1, n))},p" for n in (1, 2, 3)]
    (data.root / "list.csv").write_text("\n".join(["image,mask,patient", *rows]))
    data.image(1, 1).unlink()
    data.mask(1, 3).unlink()
    problems = reported(check(data.root))
    assert [
        (file, data.name(path) in f"{rule} {sentence}")
        for (file, rule, sentence), path in zip(
            problems, (data.image(1, 1), data.mask(1, 3)), strict=True
        )
    ] == [("list.csv line 2", True), ("list.csv line 4", True)]


def test_a_decompression_bomb_is_named_and_not_decoded(data: Data) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    path = data.image(1, 1).with_suffix(".png")
    data.image(1, 1).unlink()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    file, rule, sentence = only(check(data.root))
    assert (file, sentence) == (data.name(path), "claims 60000 x 60000")
    assert rule.startswith("a picture must have at most ")


# Real patients


def test_the_facts_of_the_real_patients(lgg: Path) -> None:
    findings = check(lgg)
    assert reported(findings) == []
    both = "TCGA_FG_A60K_20040224, TCGA_HT_A616_19991226"
    filled = "perhaps in place of a missing sequence"
    assert findings.notes == [
        f"channel 0 equals channel 1 (FLAIR) in 2 of 24 patients, {filled}: {both}",
        "channel 2 equals channel 1 (FLAIR) in 3 of 24 patients, "
        f"{filled}: TCGA_DU_7301_19911112, {both}",
    ]
    summary = findings.summary
    assert [summary[key] for key in ("layout", "patients", "slices", "tumour_slices")] == [
        *("lgg", 24, 840, 290),
    ]
    assert summary["sites"] == {"DU": 9, "HT": 7, "CS": 4, "FG": 3, "EZ": 1}
    assert (summary["sizes"], summary["types"]) == ({"256x256": 840}, {"uint8": 840})
    assert summary["slices_per_patient"] == {"0": 20, "50": 33.5, "100": 80}
    assert summary["tumour_area"]["0"] == 7
    assert summary["tumour_share"] == pytest.approx(0.0105, abs=5e-5)
