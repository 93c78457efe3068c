"""Config to network: an encoder of segmentation-models-pytorch under a decoder, or a plain U-Net.

Shapes: B images, C channels, H rows, W columns.
"""

from pathlib import Path
from typing import Self

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from brainseg import encoders, freezing, weights
from brainseg.config import Encoder, Plain

DECODERS = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "manet": smp.MAnet,
    "fpn": smp.FPN,
}


class Network(nn.Module):
    """A body with its input scaling; frozen parts stay in evaluation mode, whatever is asked."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, image_BCHW: Tensor, scaling_BC3: Tensor) -> Tensor:
        """Tumour logits (B, H, W) of uint8 images (B, C, H, W), scaled as `normalise` says."""
        ceiling, mean, deviation = scaling_BC3[..., None, None].unbind(2)
        scaled_BCHW = (image_BCHW.float().minimum(ceiling) - mean) / deviation
        logits: Tensor = self.body(scaled_BCHW)[:, 0]
        return logits

    def train(self, mode: bool = True) -> Self:
        """As in PyTorch, but batch norm and dropout of frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in freezing.frozen_modules(self):
            for part in module.modules():
                part.training = False
        return self


class PlainUnet(nn.Module):
    """Double 3x3 convolutions with max pooling, up-convolutions and skips, no pretraining.

    Source: Ronneberger, Fischer and Brox (2015), with padding, batch norm and dropout.
    """

    def __init__(
        self, *, width: int, depth: int, dropout: float, norm: str, channels: int = 3
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.downs = nn.ModuleList(
            _double_conv(before, after, dropout, norm)
            for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[-2::-1])
        self.merges = nn.ModuleList(_double_conv(2 * w, w, dropout, norm) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        skips, x_BCHW = [], image_BCHW
        for level, down in enumerate(self.downs):
            x_BCHW = down(self.pool(x_BCHW) if level else x_BCHW)
            skips.append(x_BCHW)
        for up, merge, skip in zip(self.ups, self.merges, skips[-2::-1], strict=True):
            x_BCHW = merge(torch.cat([up(x_BCHW), skip], dim=1))
        logits: Tensor = self.head(x_BCHW)
        return logits


def build_network(config: Encoder | Plain, channels: int = 3) -> Network:
    """The network, its weights loaded and its blocks frozen; random parts follow torch's seed.

    The first layer takes ``channels``; pretrained weights of three colours are adapted to them.

    Raises:
        ValueError: an unknown encoder, or weights that cannot be had or do not fit.
    """
    if isinstance(config, Plain):
        body: nn.Module = PlainUnet(
            width=config.width,
            depth=config.depth,
            dropout=config.dropout,
            norm=config.norm,
            channels=channels,
        )
    else:
        encoders.require_known(config.name)
        hub = "imagenet" if config.weights == "imagenet" else None
        body = DECODERS[config.decoder](
            config.name, encoder_weights=hub, in_channels=channels, classes=1
        )
        encoder = body.get_submodule("encoder")
        if config.weights not in ("none", "imagenet"):
            weights.load_weights(encoder, Path(config.weights), name=config.name)
        freezing.freeze(encoder, config.freeze, channels)
    return Network(body).to(memory_format=torch.channels_last)


def require_size(config: Encoder | Plain, image_size: int) -> None:
    """Refuse an image size that the network cannot halve as often as it must.

    Raises:
        ValueError: with the sizes next to it that would do.
    """
    stride = 2**config.depth if isinstance(config, Plain) else 32
    if image_size % stride or image_size < stride:
        below = max(image_size // stride * stride, stride)
        raise ValueError(
            f"image_size must be a multiple of {stride} for this network, got {image_size}; "
            f"try {below} or {below + stride}"
        )


def _double_conv(before: int, after: int, dropout: float, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (before, after):
        layers.append(nn.Conv2d(width, after, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)
