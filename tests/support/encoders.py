"""Encoders of random weights, and what tests ask of them."""

from functools import cache
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

ONE_A_CLASS = (  # a small encoder of each class of the library; of VGG one with batch norm
    *("densenet121", "dpn68", "efficientnet-b0", "inceptionresnetv2", "inceptionv4", "mit_b0"),
    *("mobilenet_v2", "mobileone_s0", "resnet18", "se_resnet50", "timm-efficientnet-b0"),
    *("timm-tf_efficientnet_lite0", "timm-skresnet18", "vgg11_bn", "xception"),
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


def same(network: nn.Module, other: nn.Module) -> bool:
    mine, theirs = network.state_dict(), other.state_dict()
    return all(torch.equal(mine[key], theirs[key]) for key in mine)


def save(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def other(network: nn.Module) -> nn.Module:
    """The same network with other numbers in it."""
    for tensor in network.state_dict().values():
        tensor.add_(1)
    return network


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}
