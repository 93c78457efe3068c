"""What is known about each encoder: its size, its work, and what freezing its blocks freezes.

All is measured on the encoder itself, with tensors that have a shape but no data, and cached.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from brainseg.models import encoders, freezing
from brainseg.records.cache import default_cache, read_checked, save_checked

PIXELS = 256  # a side of the image on which all is measured
FORMAT = 1  # raise it whenever a figure changes for the same versions of the libraries


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one more frozen block freezes."""

    parameters: int
    modules: tuple[str, ...]  # the largest that belong to the block as a whole


@dataclass(frozen=True, kw_only=True)
class EncoderFacts:
    """An encoder measured for images of 3 channels and 256 x 256 pixels."""

    parameters: int
    stride: int  # pixels of the image a side to one of the deepest feature map
    gflops: float  # of one image; a multiply-add counts two, all but matrix products and
    # convolutions nothing (torch.utils.flop_counter); the decoder comes on top
    blocks: tuple[Block, ...]

    @property
    def frozen(self) -> tuple[int, ...]:
        """Parameters frozen with the first 1, 2, ... blocks."""
        return tuple(accumulate(block.parameters for block in self.blocks))

    @property
    def idle(self) -> int:
        """Parameters that influence no feature map, and are never trained."""
        return self.parameters - sum(block.parameters for block in self.blocks)


def measure(name: str) -> EncoderFacts:
    """Build an encoder and measure it.

    Raises:
        ValueError: one of timm's that cannot be an encoder, or not at this size.
    """
    encoders.require_known(name)
    try:
        encoder = encoders.on_meta_device(lambda: encoders.build_encoder(name, 3, PIXELS)).eval()
        blocks = freezing.blocks(encoder, 3, PIXELS)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            features = encoder(torch.empty(1, 3, PIXELS, PIXELS, device="meta"))
    except (TypeError, RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{name!r} does not take images of {PIXELS} pixels ({error}); "
            f"it is made for {encoders.fixed_size(name)}"
        ) from None
    sizes = {key: parameter.numel() for key, parameter in encoder.named_parameters()}
    return EncoderFacts(
        parameters=sum(sizes.values()),
        stride=PIXELS // features[-1].shape[-1],
        gflops=counter.get_total_flops() / 1e9,
        blocks=tuple(
            Block(
                parameters=sum(sizes[key] for key in block),
                modules=tuple(whole_modules(encoder, set(block))),
            )
            for block in blocks
        ),
    )


def look_up(
    names: Sequence[str], watch: Callable[[Sequence[str]], Iterable[str]] = lambda names: names
) -> dict[str, EncoderFacts | str]:
    """Facts of each encoder, or why it has none; measured where the cache has nothing.

    ``watch`` yields the names that must be measured, as a progress bar does. What an interrupted
    call has measured is kept. Without a cache that can be used, all are measured.
    """
    file = cache_file()
    content = read_checked(file)
    known: dict[str, Any] = {} if content is None else json.loads(content)
    missing = [name for name in names if name not in known]
    try:
        for name in watch(missing) if missing else ():
            known[name] = _measured(name)
    finally:
        if missing:
            with suppress(OSError):
                save_checked(file, json.dumps(known).encode())
    return {name: _from_json(known[name]) for name in names}


def cache_file() -> Path:
    """Where measured facts are kept, after a checksum: by the versions of what they describe."""
    libraries = ("segmentation-models-pytorch", "timm", "torch")
    versions = "-".join([str(FORMAT), *map(version, libraries)])
    return default_cache() / "encoders" / f"{versions}.json"


def whole_modules(module: nn.Module, names: set[str], prefix: str = "") -> list[str]:
    """The largest submodules whose parameters are all in ``names``, then names in none of these.

    ``names`` and ``prefix`` start at the root.
    """
    inside = {prefix + name for name, _ in module.named_parameters()}
    if prefix and inside and inside <= names:
        return [prefix.removesuffix(".")]
    if inside.isdisjoint(names):
        return []
    loose = [prefix + name for name, _ in module.named_parameters(recurse=False)]
    largest = [name for name in loose if name in names]
    for name, child in module.named_children():
        largest += whole_modules(child, names, f"{prefix}{name}.")
    return largest


def _measured(name: str) -> dict[str, Any] | str:
    try:
        return asdict(measure(name))
    except ValueError as error:
        return str(error)


def _from_json(value: Any) -> EncoderFacts | str:
    if isinstance(value, str):
        return value
    blocks = (
        Block(parameters=b["parameters"], modules=tuple(b["modules"])) for b in value["blocks"]
    )
    return EncoderFacts(**value | {"blocks": tuple(blocks)})
