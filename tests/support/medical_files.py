"""Medical weights as their authors publish them, made of random numbers, and what a cache holds.

See `medical_weights.ALL` for the pages whose code says how the files are wrapped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from brainseg.cli.main import main
from brainseg.models import medical_weights

SMALL = "radiologynet-resnet18"  # by hand
HUB = "radimagenet-densenet121"  # on the hub, checksum not known beforehand


def model(name: str) -> nn.Module:
    torch.manual_seed(3)
    made: nn.Module = torchvision.models.get_model(name, weights=None)
    for key, tensor in made.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_()
    return made.eval()


def without_last(whole: nn.Module) -> nn.Module:
    """As RadImageNet's notebook: a Sequential of the children, called backbone."""
    return nn.ModuleDict({"backbone": nn.Sequential(*list(whole.children())[:-1])})


def joined(whole: nn.Module) -> nn.Module:
    """As BioViL's image model: encoder.encoder, and a projector beside."""
    inner = nn.ModuleDict({"encoder": whole})
    return nn.ModuleDict({"encoder": inner, "projector": nn.Conv2d(2048, 128, 1)})


def in_model_state(whole: nn.Module) -> dict[str, Any]:
    """As RadiologyNET's files: the network in `model`, its state in `model_state`, beside more."""
    return {"model_state": nn.ModuleDict({"model": whole}).state_dict(), "epoch": 12}


PUBLISHED: dict[str, Callable[[nn.Module], Any]] = {
    "radimagenet-resnet50": lambda whole: without_last(whole).state_dict(),
    "radimagenet-densenet121": lambda whole: without_last(whole).state_dict(),
    "radiologynet-resnet50": in_model_state,
    "radiologynet-resnet18": in_model_state,
    "lvm-med-resnet50": lambda whole: whole.state_dict(),
    "biovil-resnet50": lambda whole: joined(whole).state_dict(),
}


def published(name: str, folder: Path) -> Path:
    """A made file of such weights, as they are published."""
    entry = medical_weights.named(name)
    file = folder / entry.file
    torch.save(PUBLISHED[name](model(entry.encoder)), file)
    return file


def last_features(whole: nn.Module, image_BCHW: torch.Tensor) -> torch.Tensor:
    layers = [child for name, child in whole.named_children() if name not in ("avgpool", "fc")]
    layers = [layer for layer in layers if not isinstance(layer, nn.Linear)]
    features: torch.Tensor = nn.Sequential(*layers)(image_BCHW)
    return features


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `brainseg weights ...` says when it refuses."""
    with pytest.raises(SystemExit) as ended:
        main(["weights", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def left_in_cache(room: Path) -> list[str]:
    return sorted(path.name for path in (room / "cache").rglob("*") if path.is_file())
