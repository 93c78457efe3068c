"""Which parameters belong to which block of an encoder, and which blocks are frozen."""

import torch
from torch import Tensor, nn

from brainseg.config import First, Nothing, Whole

PROBE_PIXELS = 64  # side of the input that finds the blocks: every encoder takes it


def blocks(encoder: nn.Module, channels: int = 3) -> list[list[str]]:
    """The names of the parameters of an encoder of ``channels``, block by block from the input on.

    A parameter belongs to the first feature map that it influences: the map's gradient reaches
    it. Feature maps that no new parameter influences (the image itself) make no block. A
    parameter in no block influences nothing.
    """
    was_training = encoder.training
    encoder.eval()
    left = dict(encoder.named_parameters())
    image_BCHW = torch.zeros(1, channels, PROBE_PIXELS, PROBE_PIXELS)
    with torch.enable_grad():
        sums: list[Tensor] = [feature.sum() for feature in encoder(image_BCHW)]
    found = []
    for total in sums:
        if not (left and total.requires_grad):
            continue
        gradients = torch.autograd.grad(
            total, list(left.values()), retain_graph=True, allow_unused=True
        )
        reached = [key for key, g in zip(left, gradients, strict=True) if g is not None]
        left = {key: p for key, p in left.items() if key not in set(reached)}
        if reached:
            found.append(reached)
    encoder.train(was_training)
    return found


def freeze(encoder: nn.Module, config: Nothing | First | Whole, channels: int = 3) -> None:
    """Take gradients from the blocks that ``config`` names, and from what reaches no feature map.

    Raises:
        ValueError: more blocks are to be frozen than the encoder has.
    """
    found = blocks(encoder.requires_grad_(True), channels)
    trained = {Nothing: found, Whole: []}.get(type(config), [])
    if isinstance(config, First):
        if config.blocks > len(found):
            raise ValueError(
                f"model.encoder.freeze.first.blocks must be at most {len(found)}, the blocks that "
                f"the encoder has, got {config.blocks}"
            )
        trained = found[config.blocks :]
    names = {name for block in trained for name in block}
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in names)


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """Modules with parameters of which none is trained: to be kept in evaluation mode."""
    return [
        module
        for module in network.modules()
        if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
    ]
