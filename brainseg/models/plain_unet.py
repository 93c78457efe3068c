"""The plain U-Net: trained from random weights, the report's first model."""

import torch
from torch import Tensor, nn


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


def _double_conv(before: int, after: int, dropout: float, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (before, after):
        layers.append(nn.Conv2d(width, after, 3, padding=1, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm2d(after))
        elif norm == "instance":
            layers.append(nn.InstanceNorm2d(after, affine=True))
        layers.append(nn.ReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout2d(dropout))
    return nn.Sequential(*layers)
