"""Config to network: an encoder of segmentation-models-pytorch under a decoder, or a plain U-Net.

Shapes: B images, C channels, H rows, W columns.
"""

from collections.abc import Hashable
from contextlib import suppress
from typing import Self, get_args, get_type_hints

import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import Encoder, First, Plain
from brainseg.models import encoders, freezing, weights
from brainseg.models.libraries import smp
from brainseg.models.plain_unet import PlainUnet
from brainseg.models.reuse import StartState
from brainseg.process import Recent

DECODERS = {  # and the library's names of them
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "manet": "MAnet",
    "fpn": "FPN",
    "deeplabv3plus": "DeepLabV3Plus",
    "segformer": "Segformer",
}
STRIDES = {"deeplabv3plus": 16}  # of the deepest feature map, in pixels; 32 under the others
_blocks = Recent[Hashable, freezing.Blocks](most=64)  # by kind of network
_in_eval = Recent[Hashable, list[str]](most=256)  # by kind of network and number of frozen blocks


class Network(nn.Module):
    """A body with its input scaling; frozen parts stay in evaluation mode after any ``train()``.

    Attributes:
        blocks: names of the encoder's parameters, block by block; none if it has no encoder.
    """

    def __init__(
        self,
        body: nn.Module,
        blocks: freezing.Blocks = (),
        *,
        channels: int = 3,
        pixels: int = 64,
        kind: Hashable = None,
    ) -> None:
        """
        Args:
            kind: equal for networks whose bodies are alike but for their tensors' values; None if
                that is not known.
        """
        super().__init__()
        self.body, self.blocks, self._kind = body, blocks, kind
        self.start = StartState({})  # what its encoder was filled with
        self._input = {"channels": channels, "pixels": pixels}
        self._in_eval: list[nn.Module] = []
        self.memory_format = torch.contiguous_format

    def lay_out(self, memory_format: torch.memory_format) -> Self:
        """Arrange weights in memory, and images from now on, channels last or contiguous."""
        self.memory_format = memory_format
        return self.to(memory_format=memory_format)

    @property
    def encoder(self) -> nn.Module:
        return self.body.get_submodule("encoder")

    def freeze(self, count: int) -> None:
        """Freeze the encoder's first ``count`` blocks, and what belongs to none; no others."""
        if self.blocks:
            freezing.freeze(self.encoder, self.blocks, count)
            names = (
                _in_eval.get((self._kind, count), self._names_in_eval)
                if self._kind
                else self._names_in_eval()
            )
            self._in_eval = [self.encoder.get_submodule(name) for name in names]

    def _names_in_eval(self) -> list[str]:
        modules = set(freezing.modules_in_eval(self.encoder, **self._input))
        return [name for name, module in self.encoder.named_modules() if module in modules]

    def fingerprints(self, *, at_start: bool = False) -> dict[str, str]:
        """SHA-256 of every tensor of the encoder that is frozen now.

        Args:
            at_start: those that still have the bits they were loaded with need not be hashed
                again, if this process has done so.
        """
        if not self.blocks:
            return {}
        start = self.start if at_start else StartState({})
        return freezing.fingerprints(self.encoder, self._in_eval, start)

    def rate_scales(self, decay: float) -> dict[str, float]:
        """Share of the learning rate of each of the encoder's parameters."""
        scales = freezing.rate_scales(self.blocks, decay)
        return {f"body.encoder.{name}": scale for name, scale in scales.items()}

    def forward(self, image_BCHW: Tensor, scaling_BC3: Tensor) -> Tensor:
        """Tumour logits (B, H, W) of uint8 images (B, C, H, W), scaled as `normalise` says."""
        ceiling, mean, deviation = scaling_BC3[..., None, None].unbind(2)
        scaled_BCHW = (image_BCHW.float().minimum(ceiling) - mean) / deviation
        logits: Tensor = self.body(scaled_BCHW.contiguous(memory_format=self.memory_format))[:, 0]
        return logits

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, but frozen parts, their dropout and batch norm stay in evaluation mode."""
        super().train(mode)
        for module in self._in_eval:
            module.eval()
        return self


def build_network(config: Encoder | Plain, channels: int = 3, image_size: int = 256) -> Network:
    """The network with its weights loaded and nothing frozen; random parts follow torch's seed.

    The first layer takes ``channels``; pretrained weights of three colours are adapted to them.

    Raises:
        ValueError: an unknown encoder, or weights that are not available or do not fit.
    """
    blocks: freezing.Blocks = ()
    kind: Hashable = None
    if isinstance(config, Encoder):
        encoders.require_known(config.name)
        kind = (config.name, config.decoder, channels, image_size)
    body = _body(config, channels, image_size)
    if isinstance(config, Encoder):
        encoder = body.get_submodule("encoder")
        blocks = _blocks.get(kind, lambda: freezing.blocks(encoder, channels, image_size))
    network = Network(body, blocks, channels=channels, pixels=image_size, kind=kind)
    load_start(network, config, image_size)
    network.freeze(0)
    return network.lay_out(torch.channels_last)


def load_start(network: Network, config: Encoder | Plain, image_size: int) -> None:
    """Fill the encoder with the weights that ``config`` names, if it names any.

    Raises:
        ValueError: they are not available, or do not fit.
    """
    if isinstance(config, Encoder) and config.weights != "none":
        network.start = weights.fill_again(
            network.encoder, config.weights, name=config.name, image_size=image_size
        )


def _body(config: Encoder | Plain, channels: int, image_size: int) -> nn.Module:
    """The network without its input scaling, from random weights."""
    if isinstance(config, Plain):
        return PlainUnet(
            width=config.width,
            depth=config.depth,
            dropout=config.dropout,
            norm=config.norm,
            channels=channels,
        )
    made: nn.Module = getattr(smp, DECODERS[config.decoder])(
        config.name,
        encoder_weights=None,
        in_channels=channels,
        classes=1,
        **encoders.size_options(config.name, image_size),
    )
    if config.decoder == "unetplusplus":  # DDP would wait for vgg's centre, which is never called
        made.get_submodule("decoder").center = nn.Identity()
    return made


def require_size(config: Encoder | Plain, image_size: int) -> None:
    """Refuse an image size that the network cannot halve as often as it needs to.

    Raises:
        ValueError: the nearest sizes that work are suggested.
    """
    stride = stride_of(config)
    if image_size % stride or image_size < stride:
        below = max(image_size // stride * stride, stride)
        raise ValueError(
            f"image_size must be a multiple of {stride} for this network, got {image_size}; "
            f"try {below} or {below + stride}"
        )


def require_buildable(
    config: Encoder | Plain, channels: int = 3, image_size: int = 256, images: int = 2
) -> None:
    """Refuse a network that cannot be built, or cannot train on ``images`` a worker and step.

    The network is built and run on tensors without data (0.5 to 5 seconds), unless every encoder
    is known to work: under U-Net, with 2 images or more, above the smallest size.

    Raises:
        ValueError: the library refuses the pair, or batch norm has one value per channel only.
    """
    network, only_size, proven = "a plain U-Net", None, True
    if isinstance(config, Encoder):
        encoders.require_known(config.name)
        network, only_size = (
            f"{config.decoder!r} on {config.name!r}",
            encoders.fixed_size(config.name),
        )
        proven = config.decoder == "unet" and not config.name.startswith(encoders.TIMM)
    if proven and images > 1 and image_size > stride_of(config):
        return
    remedy = "take another encoder, or the decoder 'unet'"
    try:
        made = encoders.on_meta_device(lambda: _body(config, channels, image_size)).train()
        remedy = "take larger images, or more of them for each worker"
        with torch.no_grad():
            made(torch.empty(images, channels, image_size, image_size, device="meta"))
    except Exception as error:  # each family of encoders raises its own kind
        if only_size not in (None, image_size):
            remedy = f"try image_size={only_size}, which the encoder is made for"
        count = "1 image" if images == 1 else f"{images} images"
        raise ValueError(
            f"a network must train on {count} of {image_size} pixels, {network} does not "
            f"({error}); {remedy}"
        ) from None


def require_freezable(config: Encoder, channels: int = 3, image_size: int = 256) -> None:
    """Refuse to freeze more blocks than the encoder has.

    Raises:
        ValueError: says how many it has.
    """
    if isinstance(config.freeze, First):
        encoder = encoders.on_meta_device(
            lambda: encoders.build_encoder(config.name, channels, image_size)
        )
        count = len(freezing.blocks(encoder, channels, image_size))
        freezing.frozen_blocks(config.freeze, count, epoch=0, epochs=1)


def compatible_decoders(name: str) -> list[str]:
    """The decoders that take an encoder, at 256 pixels."""
    decoders = []
    for decoder in get_args(get_type_hints(Encoder)["decoder"]):
        with suppress(ValueError):
            require_buildable(Encoder(name=name, decoder=decoder))
            decoders.append(decoder)
    return decoders


def stride_of(config: Encoder | Plain) -> int:
    """Pixels a side of which a network takes whole multiples."""
    return 2**config.depth if isinstance(config, Plain) else STRIDES.get(config.decoder, 32)
