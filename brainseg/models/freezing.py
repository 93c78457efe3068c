"""Which parameters belong to which block of an encoder, which blocks are frozen, and the proof.

A parameter belongs to the first feature map that it influences: the map's gradient reaches it. So
the blocks of any encoder are found without a table of names.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import First, Freeze, Gradual, Whole
from brainseg.models.reuse import StartState

Blocks = Sequence[Sequence[str]]  # names of parameters, block by block from the input on


def blocks(encoder: nn.Module, channels: int = 3, pixels: int = 64) -> list[list[str]]:
    """The names of the parameters of an encoder, block by block from the input on.

    Found on an image of ``channels`` and ``pixels`` a side, which the encoder must accept. Feature
    maps that no new parameter influences (the image itself) make no block. A parameter in no
    block influences no feature map.
    """
    was_training = encoder.training
    encoder.eval()
    left = dict(encoder.named_parameters())
    with torch.enable_grad():
        sums: list[Tensor] = [
            feature.sum() for feature in encoder(_probe(encoder, channels, pixels))
        ]
    result = []
    for total in sums:
        if not (left and total.requires_grad):
            continue
        gradients = torch.autograd.grad(
            total, list(left.values()), retain_graph=True, allow_unused=True
        )
        reached = [key for key, g in zip(left, gradients, strict=True) if g is not None]
        left = {key: p for key, p in left.items() if key not in set(reached)}
        if reached:
            result.append(reached)
    encoder.train(was_training)
    return result


def frozen_blocks(freeze: Freeze, blocks: int, *, epoch: int, epochs: int) -> int:
    """How many of an encoder's first blocks are frozen in ``epoch`` of ``epochs``, from 0.

    Raises:
        ValueError: more blocks are to be frozen than the encoder has.
    """
    if isinstance(freeze, First):
        if freeze.blocks > blocks:
            raise ValueError(
                f"model.encoder.freeze.first.blocks must be at most {blocks}, the blocks that "
                f"the encoder has, got {freeze.blocks}"
            )
        return freeze.blocks
    if isinstance(freeze, Gradual):
        thawing = round(freeze.until * epochs)  # epochs until all is trained
        return 0 if epoch >= thawing else blocks - epoch * blocks // thawing
    return blocks if isinstance(freeze, Whole) else 0


def freeze(encoder: nn.Module, blocks: Blocks, count: int) -> None:
    """Freeze the first ``count`` of ``blocks``, and what is in no block: no gradients."""
    trained = {name for block in blocks[count:] for name in block}
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained)


def modules_in_eval(encoder: nn.Module, channels: int = 3, pixels: int = 64) -> list[nn.Module]:
    """Modules through which nothing is trained: they are kept in evaluation mode.

    Those with parameters of which none is trained, and those without any (dropout, stochastic
    depth, pooling) whose output has no gradient to pass on wherever the encoder uses them.
    """
    bare = [m for m in encoder.modules() if next(m.parameters(), None) is None]
    passes_gradient: dict[nn.Module, bool] = {}

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        has_gradient = any(tensor.requires_grad for tensor in _tensors(output))
        passes_gradient[module] = passes_gradient.get(module, False) or has_gradient

    hooks = [module.register_forward_hook(watch) for module in bare]
    was_training = encoder.training
    with torch.enable_grad():
        encoder.eval()(_probe(encoder, channels, pixels))
    encoder.train(was_training)
    for hook in hooks:
        hook.remove()
    full = [m for m in encoder.modules() if (held := list(m.parameters())) and not _trained(held)]
    return full + [module for module, passes in passes_gradient.items() if not passes]


def rate_scales(blocks: Blocks, decay: float) -> dict[str, float]:
    """Share of the learning rate of each parameter: ``decay`` ** (blocks from here to the decoder).

    Source: Bao et al. (2022), "BEiT", appendix; Howard and Ruder (2018), discriminative rates.
    """
    return {
        name: decay ** (len(blocks) - index) for index, block in enumerate(blocks) for name in block
    }


def fingerprints(
    encoder: nn.Module, in_eval: Sequence[nn.Module], start: StartState | None = None
) -> dict[str, str]:
    """SHA-256 of every frozen tensor: parameters without gradient, and buffers of ``in_eval``.

    Args:
        start: what the encoder was filled with; tensors with the same bits may share its hashes.
    """
    start = start or StartState({})
    buffers = {id(buffer) for module in in_eval for buffer in module.buffers()}
    frozen = [(name, p) for name, p in encoder.named_parameters() if not p.requires_grad]
    frozen_buffers = [(name, b) for name, b in encoder.named_buffers() if id(b) in buffers]
    return {name: start.digest(name, t, _hash) for name, t in [*frozen, *frozen_buffers]}


def changed(start: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Tensors that are frozen now and are not what they were at the start."""
    return [name for name, digest in now.items() if start.get(name) != digest]


def _probe(encoder: nn.Module, channels: int, pixels: int) -> Tensor:
    device = next(encoder.parameters()).device
    return torch.zeros(1, channels, pixels, pixels, device=device)


def _trained(parameters: Sequence[nn.Parameter]) -> bool:
    return any(p.requires_grad for p in parameters)


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)


def _hash(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
