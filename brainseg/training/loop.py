"""Train step by step, score one epoch. Plain PyTorch: no Ray, no W&B, runs on a laptop.

Shapes: B images, C channels, H rows, W columns, S slices of the pack.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from brainseg.data.pipeline.batch import Batch
from brainseg.evaluation.metrics import count_pixels
from brainseg.training.compute.machine import Machine
from brainseg.training.guards.finite import LateLoss
from brainseg.training.guards.micro_batches import loss_in_parts, split
from brainseg.training.losses import Loss, total_over_workers
from brainseg.training.optim import set_rates
from brainseg.training.schedules import ScheduleFunction


@dataclass(frozen=True)
class Scores:
    """What one worker counted on its share of the slices; shares add up."""

    counts_S3: Tensor  # true positives, false positives, false negatives; zeros if not its slice
    shown: dict[int, Tensor]  # the prediction (H, W) of those of the slices that are shown
    visits_S: Tensor  # how often each slice was scored
    broken_S: Tensor  # 1 where a slice's logits were NaN or infinite
    sums: Tensor  # for the loss, float64


def train_steps(
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    optimizer: Optimizer,
    schedule: ScheduleFunction,
    machine: Machine,
    *,
    scaling_NC3: Tensor,
    shown_NC: Tensor,
    first_step: int,
    clip_norm: float,
    images_at_once: int,
) -> Iterator[Tensor]:
    """Take one optimizer step per batch and yield the batch's loss, computed before the step.

    A loss stays on the device: nothing here waits for a GPU but the look at the loss of the step
    before, which is there by then.

    Args:
        scaling_NC3: input scaling of every slice of the pack, see ``normalise``.
        shown_NC: the channel that each channel of every slice shows, see ``modality_dropout``.
        first_step: optimizer steps taken before these.
        clip_norm: Euclidean norm to which gradients are scaled down; 0 does not scale them.
        images_at_once: that go through the network together; a larger batch goes in parts.

    Raises:
        NotFinite: a loss is NaN or infinite; by then the step after it, if any, is taken too.
    """
    network.train()
    latest: LateLoss | None = None

    def sums_of(part: Batch) -> Tensor:
        with machine.cast():
            rows_B = machine.to_device(torch.from_numpy(part.rows))
            scaling_BC3, shown_BC = scaling_NC3[rows_B], shown_NC[rows_B]
            logits_BHW = network(*with_channels_shown(part.image_BCHW, scaling_BC3, shown_BC))
        return loss.sums(logits_BHW, part.mask_BHW)

    on_device = (batch.to(machine.device) for batch in batches)
    for step, batch in enumerate(on_device, start=first_step):
        set_rates(optimizer, schedule(step))
        if len(batch.rows) > images_at_once:
            parts = split(batch, images_at_once)
            value, backward = loss_in_parts(network, parts, sums_of, loss)
        else:
            value = loss.of(total_over_workers(sums_of(batch)))
            backward = value.backward
        before, latest = latest, LateLoss.of(value, step, batch.rows)
        optimizer.zero_grad(set_to_none=True)
        backward()
        if clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        if before:
            before.require_finite()
        yield value.detach()
    if latest:
        latest.require_finite()


@torch.inference_mode()
def score_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    machine: Machine,
    *,
    scaling_NC3: Tensor,
    shown: Container[int] = (),
) -> Scores:
    """Return this worker's share of the counts; the caller adds the shares.

    Args:
        scaling_NC3: input scaling of every slice of the pack, see ``normalise``.
        shown: rows of the pack whose predictions are to be shown.
    """
    network.eval()
    slices = len(scaling_NC3)
    counts_S3 = torch.zeros(slices, 3, dtype=torch.int64, device=machine.device)
    visits_S = torch.zeros(slices, dtype=torch.int64, device=machine.device)
    broken_S = torch.zeros_like(visits_S)
    predictions: dict[int, Tensor] = {}
    sums = torch.zeros(loss.width, dtype=torch.float64, device=machine.device)
    for batch in (batch.to(machine.device) for batch in batches):
        rows_B = machine.to_device(torch.from_numpy(batch.rows))
        with machine.cast():
            logits_BHW = network(batch.image_BCHW, scaling_NC3[rows_B])
        counts_S3[rows_B] += count_pixels(logits_BHW, batch.mask_BHW)
        visits_S[rows_B] += 1
        broken_S[rows_B] += (0 * logits_BHW).sum((1, 2)).isnan()  # 0 unless one is not finite
        sums += loss.sums(logits_BHW, batch.mask_BHW)
        for place, row in enumerate(batch.rows.tolist()):
            if row in shown:
                predictions[row] = logits_BHW[place] > 0
    return Scores(counts_S3, predictions, visits_S, broken_S, sums)


def with_channels_shown(
    image_BCHW: Tensor, scaling_BC3: Tensor, shown_BC: Tensor
) -> tuple[Tensor, Tensor]:
    """Images and their scaling with each channel replaced by the one that it shows."""
    return (
        image_BCHW.gather(1, shown_BC[..., None, None].expand_as(image_BCHW)),
        scaling_BC3.gather(1, shown_BC[..., None].expand_as(scaling_BC3)),
    )
