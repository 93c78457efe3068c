"""Losses are ratios of sums over the whole batch, however many workers share it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F
from torch import Tensor, nn

from brainseg.config.hyperparameters import Dice, DiceBce, FocalTversky, Loss, Lovasz
from brainseg.training.losses import (
    build_loss,
    dice_bce,
    focal_tversky,
    lovasz_sums,
    pixel_sums,
    soft_dice,
    total_over_workers,
)

torch.set_num_threads(1)
OF_PIXELS = [Dice(), DiceBce(dice_weight=0.3), FocalTversky()]
CONFIGS = [*OF_PIXELS, Lovasz()]
SHARES = [slice(0, 3), slice(3, 4)]  # of a batch of four over two workers, uneven on purpose


def batch(tumour: float = 0.3) -> tuple[Tensor, Tensor]:
    """Logits and masks of four random images."""
    generator = torch.Generator().manual_seed(0)
    logits_BHW = 2 * torch.randn(4, 8, 8, generator=generator)
    mask_BHW = torch.rand(4, 8, 8, generator=generator) < tumour
    return logits_BHW, mask_BHW.to(torch.uint8)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 1))


def gradients(network: nn.Module, share: slice, config: Loss) -> list[Tensor]:
    """The gradients of a step on ``share`` of the batch, and the loss at the end of the list."""
    image_BHW, mask_BHW = batch()
    network.zero_grad()
    logits_BHW = network(image_BHW[share, None])[:, 0]
    loss = build_loss(config)
    value = loss.of(total_over_workers(loss.sums(logits_BHW, mask_BHW[share])))
    value.backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None] + [value.detach()]


def one_of_two_workers(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=len(SHARES)
    )
    results = [gradients(small_network(), SHARES[rank], config) for config in CONFIGS]
    for *parameters, _ in results:
        for gradient in parameters:  # as DistributedDataParallel does
            dist.all_reduce(gradient)
            gradient /= len(SHARES)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


# Sums


def test_pixel_sums_are_of_overlap_prediction_truth_entropy_and_pixels() -> None:
    logits_BHW, mask_BHW = batch()
    probability, truth = logits_BHW.sigmoid().double(), mask_BHW.double()
    entropy = -(truth * probability.log() + (1 - truth) * (1 - probability).log())
    expected = [probability * truth, probability, truth, entropy, torch.ones_like(truth)]
    assert pixel_sums(logits_BHW, mask_BHW).tolist() == pytest.approx(
        [float(each.sum()) for each in expected], rel=1e-5
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_sums_over_parts_add_up_to_the_sums_over_the_whole(config: Loss) -> None:
    loss, (logits_BHW, mask_BHW) = build_loss(config), batch()
    parts = [loss.sums(logits_BHW[share], mask_BHW[share]) for share in SHARES]
    whole = loss.sums(logits_BHW, mask_BHW)
    assert whole.shape == (loss.width,)
    assert torch.allclose(sum(parts, torch.zeros(loss.width)), whole)


def test_sums_are_of_full_precision_whatever_the_logits_are() -> None:
    sums = pixel_sums(torch.zeros(2, 300, 300, dtype=torch.bfloat16), torch.ones(2, 300, 300))
    assert sums.dtype == torch.float32
    assert sums[:3].tolist() == [90_000, 90_000, 180_000]


def test_huge_logits_keep_every_sum_finite() -> None:
    logits_BHW = torch.tensor([[[1e30, -1e30]]])
    assert pixel_sums(logits_BHW, torch.tensor([[[0, 1]]])).isfinite().all()


# Soft Dice


def test_soft_dice_is_the_library_s_dice_loss_whose_smoothing_counts_twice() -> None:
    logits_BHW, mask_BHW = batch()
    for smooth in (0.5, 1.0, 20.0):
        theirs = smp.losses.DiceLoss(mode="binary", from_logits=True, smooth=smooth)
        expected = theirs(logits_BHW[:, None], mask_BHW[:, None])
        ours = soft_dice(pixel_sums(logits_BHW, mask_BHW), smooth=2 * smooth)
        assert torch.allclose(ours, expected)


def test_soft_dice_is_of_the_batch_and_not_a_mean_over_images() -> None:
    logits_BHW, mask_BHW = batch()
    mask_BHW[:3] = 0
    whole = soft_dice(pixel_sums(logits_BHW, mask_BHW), smooth=1)
    each = [soft_dice(pixel_sums(logits_BHW[[i]], mask_BHW[[i]]), smooth=1) for i in range(4)]
    assert not torch.isclose(whole, torch.stack(each).mean(), atol=0.01)


def test_a_perfect_prediction_costs_nothing_and_an_opposite_one_everything() -> None:
    _, mask_BHW = batch()
    logits_BHW = (mask_BHW.float() - 0.5) * 100
    assert soft_dice(pixel_sums(logits_BHW, mask_BHW), smooth=1e-3) == pytest.approx(0, abs=1e-4)
    assert soft_dice(pixel_sums(-logits_BHW, mask_BHW), smooth=1e-3) == pytest.approx(1, abs=1e-4)


# Its kin


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_dice_bce_is_the_weighted_mean_of_both(weight: float) -> None:
    logits_BHW, mask_BHW = batch()
    sums = pixel_sums(logits_BHW, mask_BHW)
    entropy = F.binary_cross_entropy_with_logits(logits_BHW, mask_BHW.float())
    expected = weight * soft_dice(sums, smooth=1) + (1 - weight) * entropy
    assert torch.allclose(dice_bce(sums, dice_weight=weight, smooth=1), expected)


def test_tversky_that_weighs_both_errors_alike_is_dice_with_twice_the_smoothing() -> None:
    sums = pixel_sums(*batch())
    tversky = focal_tversky(sums, beta=0.5, gamma=1, smooth=1.5)
    assert torch.allclose(tversky, soft_dice(sums, smooth=3.0))


def test_beta_is_the_weight_of_misses() -> None:
    missed = torch.tensor([10.0, 10.0, 30.0, 0.0, 64.0])  # 20 missed, none extra
    extra = torch.tensor([10.0, 30.0, 10.0, 0.0, 64.0])  # 20 extra, none missed
    for sums, weight in ((missed, 0.7), (extra, 0.3)):
        loss = focal_tversky(sums, beta=0.7, gamma=2, smooth=1)
        assert float(loss) == pytest.approx((1 - 11 / (10 + weight * 20 + 1)) ** 2)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Dice(smooth=3), lambda s: soft_dice(s, smooth=3)),
        (DiceBce(dice_weight=0.2, smooth=3), lambda s: dice_bce(s, dice_weight=0.2, smooth=3)),
        (
            FocalTversky(beta=0.6, gamma=0.5, smooth=3),
            lambda s: focal_tversky(s, beta=0.6, gamma=0.5, smooth=3),
        ),
    ],
)
def test_a_config_names_its_loss(config: Loss, expected: Callable[[Tensor], Tensor]) -> None:
    loss = build_loss(config)
    sums = loss.sums(*batch())
    assert torch.equal(sums, pixel_sums(*batch()))
    assert loss.of(sums) == expected(sums)


def test_lovasz_is_the_mean_over_images_of_the_jaccard_lost_by_a_hard_prediction() -> None:
    """Where every margin is 0 or 2, the hinge is twice the Jaccard loss (Berman et al., eq. 9)."""
    _, mask_BHW = batch()
    wrong_BHW = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.2
    predicted_BHW = mask_BHW.bool() ^ wrong_BHW
    either = (predicted_BHW | mask_BHW.bool()).sum((1, 2))
    jaccard_loss = 1 - (predicted_BHW & mask_BHW.bool()).sum((1, 2)) / either
    loss = build_loss(Lovasz())
    value = loss.of(loss.sums(2.0 * predicted_BHW - 1, mask_BHW))
    assert torch.allclose(value, 2 * jaccard_loss.mean())


def test_lovasz_of_confident_right_answers_is_0() -> None:
    _, mask_BHW = batch()
    assert lovasz_sums(4.0 * mask_BHW - 2, mask_BHW).tolist() == [0, 4]


# Gradients


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("tumour", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
def test_gradients_are_finite_on_empty_full_right_and_wrong_batches(
    config: Loss, tumour: float, scale: float
) -> None:
    logits_BHW, mask_BHW = batch(tumour)
    for sign in (1, -1):  # at scale 1000: all right, then all wrong
        leaf = sign * scale * (2 * mask_BHW.float() - 1) if scale == 1000 else scale * logits_BHW
        leaf.requires_grad_()
        loss = build_loss(config)
        value = loss.of(loss.sums(leaf, mask_BHW))
        value.backward()
        assert value.isfinite() and leaf.grad is not None and leaf.grad.isfinite().all()


@pytest.mark.parametrize("config", OF_PIXELS, ids=lambda config: type(config).__name__)
def test_a_batch_without_tumour_teaches_to_find_none(config: Loss) -> None:
    logits_BHW, mask_BHW = batch(tumour=0.0)
    logits_BHW.requires_grad_()
    build_loss(config).of(pixel_sums(logits_BHW, mask_BHW)).backward()
    assert logits_BHW.grad is not None and (logits_BHW.grad > 0).all()


def test_one_process_alone_has_the_total_already() -> None:
    sums = pixel_sums(*batch())
    assert total_over_workers(sums) is sums


def test_two_workers_follow_the_gradient_and_see_the_loss_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two_workers, (tmp_path,), nprocs=len(SHARES))
    alone = [gradients(small_network(), slice(0, 4), config) for config in CONFIGS]
    for rank in range(len(SHARES)):
        shared = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for ours, theirs in zip(alone, shared, strict=True):
            for mine, other in zip(ours, theirs, strict=True):
                assert torch.allclose(mine, other, rtol=1e-5, atol=1e-8)
