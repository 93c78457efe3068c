"""`brainseg encoders` shows whole names and figures, also in a pipe and in a file."""

import csv
import re
from pathlib import Path

import pytest
import torch

from brainseg.cli.encoders import in_runs
from brainseg.cli.main import main

torch.set_num_threads(1)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["encoders", *words])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["encoders", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_a_table_in_a_pipe_has_a_whole_line_for_each_encoder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys, "resnet[13][84]").splitlines()
    (line,) = (line for line in lines if "resnet18" in line)
    assert re.split(" {2,}", line.strip()) == [
        "resnet18",
        "11.18",
        "32",
        "4.74",
        "0.01 / 0.16 / 0.68 / 2.78 / 11.18",
        "imagenet (BSD-3-Clause); ssl, swsl (CC-BY-NC-4.0)",
    ]
    assert any("resnet34" in line for line in lines)
    assert not any("\u2026" in line for line in lines)


def test_one_encoder_is_shown_block_by_block_with_its_decoders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "vgg11")
    assert "vgg11: 9,220,480 parameters, stride 32" in text
    assert "decoders: unet, unetplusplus, manet, fpn, segformer\n" in text
    last = [line for line in text.splitlines() if "features." in line][-1]
    assert last.split()[2] == "9,220,480"


def test_parameters_that_are_never_trained_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert "412,160 parameters influence no feature map" in shown(capsys, "efficientnet-b0")


def test_the_file_has_exact_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    assert str(file) in shown(capsys, "resnet[13][84]", "--csv", str(file))
    with file.open() as text:
        rows = {row["encoder"]: row for row in csv.DictReader(text)}
    assert set(rows) == {"resnet18", "resnet34"}
    row = rows["resnet18"]
    assert row["parameters"] == row["frozen_5"] == "11176512"
    assert (row["stride"], row["frozen_1"]) == ("32", "9536")


def test_too_many_of_timm_are_listed_without_figures(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "tu-*")
    assert "tu-convnext_tiny" in text and "too many of timm's to measure at once" in text
    assert "GFLOPs" not in text.splitlines()[1]


def test_what_cannot_be_an_encoder_is_listed_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, "tu-vit_tiny_patch16_?24")
    assert "see below" in text and "an encoder must have feature maps" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mitt_*"], "brainseg: there is no encoder that matches 'mitt_*'; did you mean 'mit_b"),
        (["tu-vit_tiny_patch16_224"], "brainseg: an encoder must have feature maps"),
        (
            ["mit_b0", "--csv", "/nowhere/list.csv"],
            "brainseg: --csv must name a file in a folder that exists",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    printed = refused(capsys, *words)
    assert printed.startswith(message) and printed.count("\n") == 1


def test_consecutive_modules_that_differ_in_a_number_alone_are_shown_as_a_range() -> None:
    modules = ["stem", "blocks.0", "blocks.1", "blocks.2", "norm1", "head.weight"]
    assert in_runs(modules) == "stem, blocks.0 to blocks.2, norm1, head.weight"
    assert in_runs([]) == ""
