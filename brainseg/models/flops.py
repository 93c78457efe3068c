"""How much a network has to compute and to hold in a step, counted on tensors without data.

Shapes: B images, C channels, H rows, W columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from brainseg.config.hyperparameters import Encoder, Plain
from brainseg.models import freezing
from brainseg.models.encoders import on_meta_device
from brainseg.models.network import Network, build_network

FLOAT = 4  # bytes


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one training step on a batch, and of scoring one image.

    Floating-point operations are those of matrix products and convolutions; a multiply-add
    counts as two (torch.utils.flop_counter); bytes are in float32.
    """

    step_flops: float  # forward and backward
    image_flops: float  # forward alone
    parameters: int
    trained: int  # of the parameters
    activations: int  # bytes kept for the backward pass

    @property
    def memory(self) -> int:
        """Bytes of weights, gradients, two moments of each trained weight, and activations."""
        return FLOAT * (self.parameters + 3 * self.trained) + self.activations


@cache
def blocks_of(model: Encoder | Plain, channels: int, image_size: int) -> int:
    """How many blocks of the network can be frozen, whatever its weights."""
    return len(_network(_bare(model), channels, image_size).blocks)


@cache
def work(
    model: Encoder | Plain, *, channels: int, image_size: int, images: int, frozen: int
) -> Work:
    """Count the work of a network of random weights whose first ``frozen`` blocks are frozen.

    Raises:
        ValueError: the network cannot be built, or not run on such images.
    """
    network = _network(_bare(model), channels, image_size)
    network.train()
    if network.blocks:
        freezing.freeze(network.encoder, network.blocks, frozen)
    shape = (images, channels, image_size, image_size)
    image_BCHW = torch.empty(shape, dtype=torch.uint8, device="meta")
    scaling_BC3 = torch.empty(images, channels, 3, device="meta")
    counter = _Counter()
    try:
        with counter.flops, _kept_for_backward() as kept, counter:
            network(image_BCHW, scaling_BC3)
    except Exception as error:  # each family of encoders raises another kind
        raise ValueError(
            f"it does not train on {images} images of {image_size} pixels ({error})"
        ) from None
    of_parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    sizes = [p.numel() for p in network.parameters()]
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    return Work(
        step_flops=counter.flops.get_total_flops() + 2.0 * counter.trained,
        image_flops=counter.flops.get_total_flops() / images,
        parameters=sum(sizes),
        trained=sum(trained),
        activations=sum(size for storage, size in kept.items() if storage not in of_parameters),
    )


class _Counter(TorchFunctionMode):
    """Counts the operations of each call, and those of calls whose result is differentiated.

    PyTorch's own count of a backward pass ignores the groups of convolutions, which gives ten times
    too much for EfficientNet. Here a backward pass counts twice the forward pass of what is
    trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = FlopCounterMode(display=False)
        self.trained = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.flops.get_total_flops()
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad:
            self.trained += self.flops.get_total_flops() - before
        return result


@contextmanager
def _kept_for_backward() -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd keeps, by its address, while the context is open."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is reused

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept


def _bare(model: Encoder | Plain) -> Encoder | Plain:
    """The same network from random weights, nothing of it frozen."""
    if isinstance(model, Encoder):
        usual = Encoder()
        return Encoder(name=model.name, decoder=model.decoder, weights="none", freeze=usual.freeze)
    return model


@cache
def _network(model: Encoder | Plain, channels: int, image_size: int) -> Network:
    try:
        return on_meta_device(lambda: build_network(model, channels, image_size))
    except Exception as error:  # each family of encoders raises another kind
        if isinstance(error, ValueError):
            raise
        raise ValueError(
            f"it cannot be built for images of {image_size} pixels ({error})"
        ) from None
