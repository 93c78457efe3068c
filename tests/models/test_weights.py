"""Weights are there, or what to do is said, before any training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from brainseg.models.weights import fill, is_path, require_weights

torch.set_num_threads(1)


def test_random_weights_need_nothing() -> None:
    require_weights("resnet18", "none")


@pytest.mark.parametrize("weights", ["nowhere.pth", "./nowhere", "/no/folder"])
def test_a_file_that_is_not_there_is_refused(weights: str) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet18", weights)
    assert str(error.value) == (
        "encoder weights must be 'none', a published name such as 'imagenet', or a file, and "
        f"there is no file {Path(weights)}"
    )


@pytest.mark.parametrize(
    ("name", "weights", "known"),
    [
        ("resnet18", "ImageNet", "none, imagenet, ssl, swsl, medical:radiologynet-resnet18"),
        ("resnet34", "", "none, imagenet"),
        ("dpn92", "imagenet", "none, imagenet+5k"),
        ("tu-convnext_atto", "instagram", "none, d2_in1k"),
        ("tu-ghostnet_050", "imagenet", "none"),
        ("tu-resnet50_clip.openai", "imagenet", "none, openai"),  # not of ImageNet
    ],
)
def test_weights_that_nobody_published_are_refused_with_those_that_are(
    name: str, weights: str, known: str
) -> None:
    with pytest.raises(ValueError) as error:
        fill(nn.Identity(), weights, name=name)
    assert str(error.value) == (
        f"there are no weights {weights!r} for the encoder {name!r}, only {known}; the path of "
        "a file or folder needs a slash or a suffix, such as ./mine"
    )


@pytest.mark.parametrize("weights", ["none", "imagenet", "imagenet+5k", "noisy-student-475"])
def test_a_published_name_is_no_path(weights: str) -> None:
    assert not is_path(weights) and not is_path("medical:radimagenet-resnet50")
    assert is_path(f"./{weights}") and is_path(f"{weights}.pth")


OFFLINE = """\
from brainseg.models.weights import require_weights
for name, weights in ASKED:
    try:
        require_weights(name, weights)
    except ValueError as error:
        print(error)
"""


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    asked = [
        ("resnet18", "imagenet"),
        ("resnet18", "ssl"),
        ("tu-resnet18", "imagenet"),
        ("tu-resnet18.tv_in1k", "tv_in1k"),
        ("tu-legacy_seresnet18", "imagenet"),  # not on the hub: timm names an address
    ]
    # In a process of its own: the hub's library reads the environment when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", f"ASKED = {asked!r}\n{OFFLINE}"],
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    first = done.stdout.splitlines()[0]
    assert first == (
        "the weights 'imagenet' of 'resnet18' are not in the hub's cache, and the hub cannot be "
        "reached; run `brainseg weights fetch resnet18` where there is a network (the cache is "
        "$HF_HOME), or use --weights none or --weights FILE"
    )
    assert done.stdout.count("the hub cannot be reached") == len(asked)
    assert "`brainseg weights fetch resnet18 --weights ssl`" in done.stdout
