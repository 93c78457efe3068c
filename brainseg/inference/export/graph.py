"""A model as one graph of tensors: grey levels in, probability out, nothing of brainseg around it.

What ``Model`` does with NumPy before and after its networks is done here with tensors, so that a
file of the graph is all that another program needs. It does not resize: for slices of the training
resolution its answer is that of ``Model.of_squares``.

Shapes: B slices, C channels, H rows, W columns, 256 grey levels, P pixels; 3 is (ceiling, mean,
standard deviation).
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainseg.config.hyperparameters import Encoder
from brainseg.data.pipeline.normalise import (
    BACKGROUND,
    CEILING,
    IMAGENET_MEAN,
    IMAGENET_STD,
)
from brainseg.inference.model import Model
from brainseg.models.encoders import fixed_size
from brainseg.models.network import Network, stride_of


class Graph(nn.Module):
    """uint8 slices (B, C, H, W) to the probability of tumour, float32 (B, H, W).

    With normalise "patient" a batch must be slices of one patient: their levels are scaled
    together. Slices are padded with level 0 to a multiple of ``stride``, the answer is cropped.

    Attributes:
        only_size: rows and columns that the network takes, None where it takes any.
    """

    def __init__(
        self, networks: Sequence[Network], normalise: str, stride: int, only_size: int | None = None
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.normalise, self.stride, self.only_size = normalise, stride, only_size
        fixed = torch.tensor([[1.0, 1.0, 1.0], IMAGENET_MEAN, IMAGENET_STD]).T * 255
        self.register_buffer("imagenet_1C3", fixed[None].clone(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2], image.shape[3]
        padded_BCHW = image
        if self.only_size is None:
            padded_BCHW = F.pad(image, (0, -width % self.stride, 0, -height % self.stride))
        scaling_BC3 = self._scaling(image)
        logits = [network(padded_BCHW, scaling_BC3) for network in self.networks]
        mean_BHW = torch.stack([each.sigmoid() for each in logits]).mean(0)
        return mean_BHW[:, :height, :width]

    def example(self, channels: int) -> Tensor:
        """Two slices to follow through the graph, of unequal sides where these may be unequal."""
        height, width = 2 * self.stride, 3 * self.stride
        if self.only_size is not None:
            height = width = self.only_size
        levels = torch.arange(2 * channels * height * width) % 256
        return levels.to(torch.uint8).reshape(2, channels, height, width)

    def _scaling(self, image_BCHW: Tensor) -> Tensor:
        """As ``normalise.scaling``; (1, C, 3) where all slices have the same."""
        if self.normalise == "imagenet":
            return self.get_buffer("imagenet_1C3")
        counts_BC256 = _level_counts(image_BCHW)
        if self.normalise == "patient":
            counts_BC256 = counts_BC256.sum(0, keepdim=True)
        return _foreground_statistics(counts_BC256)


def graph_of(model: Model) -> Graph:
    """The graph of a model, with copies of its networks on the CPU."""
    config = model.description.trial_config.model
    is_fixed = isinstance(config, Encoder) and fixed_size(config.name) is not None
    networks = [
        deepcopy(network).cpu().lay_out(torch.contiguous_format) for network in model.networks
    ]
    only_size = model.image_size if is_fixed else None
    return Graph(networks, model.normalise, stride_of(config), only_size).eval()


def _level_counts(image_BCHW: Tensor) -> Tensor:
    """How many pixels of each slice and channel have each level, int64 (B, C, 256)."""
    level_BCP = image_BCHW.flatten(2).long()
    zeros_BC256 = level_BCP.new_zeros(image_BCHW.shape[0], image_BCHW.shape[1], 256)
    return zeros_BC256.scatter_add(2, level_BCP, torch.ones_like(level_BCP))


def _foreground_statistics(counts_BC256: Tensor) -> Tensor:
    """As in normalise.py: float32 (B, C, 3); without any foreground 255, 0, 1."""
    levels = torch.arange(256, device=counts_BC256.device)
    counts = torch.where(levels == 0, 0, counts_BC256)
    floor = BACKGROUND * _quantile_level(counts, 0.99).double()
    counts = torch.where(levels <= floor, 0, counts)
    ceiling = _quantile_level(counts, CEILING)
    cut = torch.minimum(levels, ceiling).double()
    total = counts.sum(-1, keepdim=True)
    some = total.clamp(min=1).double()
    mean = (counts * cut).sum(-1, keepdim=True) / some
    variance = (counts * (cut - mean) ** 2).sum(-1, keepdim=True) / some
    deviation = variance.sqrt().clamp(min=1.0)
    highest = torch.where(total == 0, 255, ceiling).double()
    return torch.cat([highest, mean, deviation], dim=-1).float()


def _quantile_level(counts_BC256: Tensor, quantile: float) -> Tensor:
    """The lowest level with at least ``quantile`` of the pixels at or below it, (B, C, 1)."""
    cumulative = counts_BC256.cumsum(-1).double()
    return (cumulative < quantile * cumulative[..., -1:]).sum(-1, keepdim=True)
