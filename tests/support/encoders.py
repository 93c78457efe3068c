"""Encoders of random weights, and what tests ask of them."""

from functools import cache
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import nn

ONE_A_CLASS = (  # the smallest encoder of each class of the library; of VGG one with batch norm
    *("densenet121", "dpn68", "efficientnet-b0", "inceptionresnetv2", "inceptionv4", "mit_b0"),
    *("mobilenet_v2", "mobileone_s1", "resnet18", "se_resnext50_32x4d", "timm-skresnet18"),
    *("timm-tf_efficientnet_lite0", "vgg11_bn", "xception"),
)


def encoder(name: str = "resnet18") -> nn.Module:
    """From random weights, the same each time."""
    torch.manual_seed(0)
    made: nn.Module = smp.encoders.get_encoder(name, weights=None)
    return made


@cache
def shared(name: str) -> nn.Module:
    """One for all tests that leave it as it is."""
    return encoder(name)


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[key], theirs[key]) for key in mine)


def save(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path
