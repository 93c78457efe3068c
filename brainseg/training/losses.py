"""Losses as functions of sums that are added over workers before anything is divided.

Soft Dice and similar losses are ratios of sums over the batch. Each worker sums over its share,
the sums are added over workers, and the loss is computed from the total: training on n workers
follows the same gradient as training on one.

Shapes: B images, H rows, W columns, K sums.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from brainseg.config import hyperparameters

_alone = ContextVar("alone", default=False)


@dataclass(frozen=True)
class Loss:
    """A loss of sums that add up over images, batches and workers."""

    width: int  # K, how many sums
    sums: Callable[[Tensor, Tensor], Tensor]  # logits (B, H, W), mask (B, H, W) -> sums (K,)
    of: Callable[[Tensor], Tensor]  # sums (K,) -> the loss, a scalar


def pixel_sums(logits_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Sums over all pixels, shape (5,): p*y, p, y, cross-entropy, 1; p is the tumour probability.

    Args:
        logits_BHW: any float type; taken as float32.
        mask_BHW: 1 where there is tumour, else 0; any type.
    """
    logits, truth = logits_BHW.float(), mask_BHW.float()
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    pixels = torch.full((), float(truth.numel()), device=logits.device)
    overlap = (probability * truth).sum()
    return torch.stack([overlap, probability.sum(), truth.sum(), entropy, pixels])


@contextmanager
def alone() -> Iterator[None]:
    """In the block this worker's sums are its own: one that measures has no others beside it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def total_over_workers(sums: Tensor) -> Tensor:
    """``sums`` added over all workers, with the gradient that DistributedDataParallel expects.

    DDP divides gradients by the number of workers; each worker's sums count in full towards the
    loss, so their gradient is multiplied by that number here.
    """
    if _alone.get() or not dist.is_initialized() or dist.get_world_size() == 1:
        return sums
    total = sums.detach().clone()
    dist.all_reduce(total)
    scaled = dist.get_world_size() * sums
    return total + (scaled - scaled.detach())


def build_loss(config: hyperparameters.Loss) -> Loss:
    """The loss that ``config`` names."""
    if isinstance(config, hyperparameters.Lovasz):
        return Loss(2, lovasz_sums, lambda sums: sums[0] / sums[1])
    return Loss(5, pixel_sums, _of_pixel_sums(config))


def _of_pixel_sums(
    config: hyperparameters.Dice | hyperparameters.DiceBce | hyperparameters.FocalTversky,
) -> Callable[[Tensor], Tensor]:
    if isinstance(config, hyperparameters.DiceBce):
        return lambda sums: dice_bce(sums, dice_weight=config.dice_weight, smooth=config.smooth)
    if isinstance(config, hyperparameters.FocalTversky):
        return lambda sums: focal_tversky(
            sums, beta=config.beta, gamma=config.gamma, smooth=config.smooth
        )
    return lambda sums: soft_dice(sums, smooth=config.smooth)


def lovasz_sums(logits_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Shape (2,): the Lovasz hinge of each image, added over the images, and their number.

    Source: Berman et al. (2018), "The Lovasz-Softmax loss", algorithm 1 with the hinge, as
    segmentation-models-pytorch has it.
    """
    import segmentation_models_pytorch as smp  # seconds, which no other loss needs

    hinge = smp.losses.LovaszLoss(mode="binary", per_image=True)
    images = torch.full((), float(len(mask_BHW)), device=logits_BHW.device)
    mean = hinge(logits_BHW.float()[:, None], mask_BHW.float()[:, None])
    return torch.stack([mean * images, images])


def soft_dice(sums: Tensor, *, smooth: float) -> Tensor:
    """1 - (2 sum(py) + s) / (sum(p) + sum(y) + s). Source: Milletari et al. (2016), eq. 1."""
    overlap, predicted, true, _, _ = sums.unbind()
    return 1 - (2 * overlap + smooth) / (predicted + true + smooth)


def dice_bce(sums: Tensor, *, dice_weight: float, smooth: float) -> Tensor:
    """``dice_weight`` x soft Dice loss + the rest x mean binary cross-entropy."""
    _, _, _, entropy, pixels = sums.unbind()
    return dice_weight * soft_dice(sums, smooth=smooth) + (1 - dice_weight) * entropy / pixels


def focal_tversky(sums: Tensor, *, beta: float, gamma: float, smooth: float) -> Tensor:
    """(1 - TI) ** gamma, TI = (tp + s) / (tp + alpha fp + beta fn + s), alpha = 1 - beta.

    Source: Abraham and Khan (2019), eq. 3 and 4, with gamma as the exponent itself.
    """
    overlap, predicted, true, _, _ = sums.unbind()
    extra, missed = predicted - overlap, true - overlap
    index = (overlap + smooth) / (overlap + (1 - beta) * extra + beta * missed + smooth)
    return (1 - index).clamp_min(1e-7) ** gamma  # the slope at 0 is infinite for gamma < 1
