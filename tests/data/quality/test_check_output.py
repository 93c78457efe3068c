"""What check prints, writes and returns; names cannot command the page or the terminal."""

import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import nibabel
import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.data.quality.check import check
from brainseg.report.data_page import write_page, write_picture
from tests.support.faults import SHARED, SLICES, UNREADABLE, Data, change, reported
from tests.support.scans import blob, noise, write_volume

HOSTILE = '=1+1,"<img src=x onerror=alert(1)>&\x1b[31m\nÜ 脳'


def test_names_of_any_kind_are_escaped_in_the_page(data: Data) -> None:
    data.image(1, 1).parent.rename(data.root / HOSTILE)
    shutil.copy(data.root / HOSTILE / data.image(1, 4).name, data.image(2, 4))
    (data.root / HOSTILE / data.mask(1, 2).name).write_bytes(b"")
    findings = check(data.root)
    assert sorted(rule for _, rule, _ in reported(findings)) == [SHARED, UNREADABLE]
    text = write_page(findings, data.root.parent / "page.html").read_text()
    assert "<img" not in text and "\x1b" not in text
    assert unescape(text).count('=1+1,"<img src=x onerror=alert(1)>&\\x1b[31m\\nÜ 脳') > 4
    assert write_picture(findings, data.root.parent / "page.png").stat().st_size > 10_000


def test_names_cannot_command_the_terminal(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    data.image(1, 1).parent.rename(data.root / HOSTILE)
    (data.root / HOSTILE / data.mask(1, 2).name).write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(data.root)])
    printed = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "\x1b" not in printed and "\\x1b[31m\\nÜ 脳/PHANTOM_0001_2_mask.tif is empty" in printed


def test_the_command_ends_with_0_where_nothing_is_wrong(
    data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", str(data.root), "--png", str(data.root.parent / "page.png")])
    printed = capsys.readouterr().out
    assert "4 patients, 24 slices" in printed and "no problem found" in printed
    assert (data.root.parent / "page.png").read_bytes().startswith(b"\x89PNG")


def test_of_what_cannot_be_used_the_command_says_how_much_it_is_and_how_it_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for patient in ("BraTS_1", "BraTS_2"):
        folder = tmp_path / "TrainingData" / patient
        write_volume(folder / f"{patient}_flair.nii", noise(4, 16, 16))
        write_volume(
            folder / f"{patient}_seg.nii", np.stack([blob(top=label) for label in (1, 2, 4, 1)])
        )
    (tmp_path / "TrainingData" / ("names" * 20 + ".csv")).touch()
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(tmp_path)])
    printed = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "0 of 2 patients and 0 of 8 slices can be used, 0 with tumour" in printed
    assert re.search(r"^layout +nifti *$", printed, re.M)
    assert "TrainingData/" + "names" * 20 + ".csv" in re.sub(r"\s+", "", printed)


def test_lines_of_a_manifest_are_counted_as_one_file(
    data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"x{n}.tif,y{n}.tif,P{n}\n" for n in range(3))
    (data.root / "list.csv").write_text(f"image,mask,patient\n{rows}")
    with pytest.raises(SystemExit):
        main(["check", str(data.root)])
    printed = capsys.readouterr().out
    assert re.search(r"^layout +manifest list\.csv *$", printed, re.M)
    assert "3 problems in 1 file\n" in printed


def test_the_command_lists_every_problem_under_its_rule_and_ends_with_1(
    data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, SLICES + 1):
        data.mask(1, number).write_bytes(b"")
    data.image(2, 1).write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(data.root)])
    printed = capsys.readouterr().out
    assert stopped.value.code == 1
    assert printed.count(f"{UNREADABLE}; restore it, or remove the slice") == 1
    assert printed.count(" is empty\n") == 7
    assert "7 problems in 7 files" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "root must be a folder of slices, nowhere does not exist"),
        ([".", "--layout", "tiff"], "a layout must be one of auto, lgg, "),
        (
            [".", "--html", "/no/such/folder/page.html"],
            "--html must name a file in a folder ",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", *words])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"brainseg: {message}")


def test_a_picture_that_cannot_be_written_is_one_sentence(
    data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", str(data.root), "--png", str(data.root)])
    assert stopped.value.code == 2
    message = f"brainseg: {data.root} cannot be written (Is a directory); choose another path\n"
    assert capsys.readouterr().err == message


def test_the_page_shows_what_is_odd_and_loads_nothing(data: Data) -> None:
    change(data.mask(2, data.with_tumour(2)), lambda mask_HW: 255 - mask_HW)
    for number in range(1, SLICES + 1):
        change(data.image(3, number), lambda image: image[..., [1, 1, 2]])
    findings = check(data.root)
    whys = " ".join(outlier.why for outlier in findings.outliers)
    assert "mask marks " in whys and "channel 2 equals channel 1" in whys
    assert "one of the largest tumour areas" in whys
    text = write_page(findings, data.root.parent / "page.html").read_text()
    assert text.count("<figure>") == 1 + len(findings.outliers)
    assert "http" not in text and "<script" not in text


def test_a_folder_of_which_nothing_can_be_read_still_has_a_page(data: Data) -> None:
    for path in data.root.glob("*/*.tif"):
        path.write_bytes(b"")
    findings = check(data.root)
    assert len(findings.problems) == 48 and findings.summary["slices"] == 0
    text = write_page(findings, data.root.parent / "page.html").read_text()
    assert "48 problems in 48 files" in text
    write_picture(findings, data.root.parent / "page.png")


def test_volumes_are_summed_up_in_millilitres(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for patient in "pq":
        scan, tumour = rng.normal(size=(20, 20, 4)), np.zeros((20, 20, 4), np.uint8)
        tumour[5:15, 5:10, 1:3] = 1
        (tmp_path / patient).mkdir()
        for name, voxels in (("t1", scan.astype(np.float32)), ("seg", tumour)):
            image = nibabel.Nifti1Image(voxels, np.diag([0.5, 0.5, 4.0, 1.0]))
            nibabel.save(image, tmp_path / patient / f"{name}.nii.gz")
    findings = check(tmp_path)
    assert reported(findings) == []
    assert findings.summary["tumour_volume_unit"] == "ml"
    assert findings.summary["tumour_volume"] == pytest.approx({"p": 0.1, "q": 0.1})
    assert findings.summary["spacing"] == {"0.5x0.5x4 mm": 2}


def test_the_command_loads_neither_torch_nor_ray_nor_matplotlib(data: Data) -> None:
    code = (
        "import sys; from brainseg.cli.main import main; main(['check', sys.argv[1]]); "
        "print([n for n in ('torch', 'ray', 'matplotlib', 'wandb', 'albumentations') "
        "if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n") and done.stderr == ""
