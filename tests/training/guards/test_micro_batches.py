"""A batch that goes through the network in parts has the loss and the gradient of the whole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import Dice, DiceBce, FocalTversky, Lovasz
from brainseg.data.pipeline.batch import Batch
from brainseg.models.plain_unet import PlainUnet
from brainseg.records.run import Run
from brainseg.training.guards.micro_batches import loss_in_parts, split
from brainseg.training.losses import Loss, build_loss
from tests.support.tasks import task_of
from tests.support.trials import TINY, nothing, together, trained

IMAGES = 7
GENERATOR = torch.Generator().manual_seed(0)
SLICES_BHWD = torch.randint(0, 255, (IMAGES, 16, 16, 4), generator=GENERATOR).to(torch.uint8)
SLICES_BHWD[..., 3] = 0
SLICES_BHWD[:-2, 4:12, 5:11, 3] = 1  # the last two have no tumour
BATCH = Batch(SLICES_BHWD, np.arange(IMAGES))
LOSSES = [Dice(), DiceBce(), FocalTversky(), Lovasz()]
SumsOf = Callable[[Batch], Tensor]


def network(*, dropout: float = 0.0, norm: str = "none") -> nn.Module:
    torch.manual_seed(1)
    return PlainUnet(width=4, depth=2, dropout=dropout, norm=norm, channels=3).train()  # type: ignore[arg-type]


def sums_of(net: nn.Module, loss: Loss) -> SumsOf:
    def sums(part: Batch) -> Tensor:
        return loss.sums(net(part.image_BCHW.float() / 255)[:, 0], part.mask_BHW)

    return sums


def gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("config", LOSSES, ids=str)
@pytest.mark.parametrize("at_once", [4, 2, 1])
def test_loss_and_gradient_are_those_of_the_whole_batch(
    config: hyperparameters.Loss, at_once: int
) -> None:
    loss, net = build_loss(config), network()
    whole = loss.of(sums_of(net, loss)(BATCH))
    whole.backward()
    expected = gradients(net)
    net.zero_grad()
    value, backward = loss_in_parts(net, split(BATCH, at_once), sums_of(net, loss), loss)
    backward()
    assert value.item() == pytest.approx(whole.item(), rel=1e-5)
    scale = max(float(gradient.abs().max()) for gradient in expected)
    for gradient, wanted in zip(gradients(net), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * scale)
    assert scale > 0


@pytest.mark.parametrize("config", LOSSES, ids=str)
def test_dropout_draws_the_same_numbers_in_both_passes(config: hyperparameters.Loss) -> None:
    loss, net = build_loss(config), network(dropout=0.5, norm="batch")
    parts = split(BATCH, 4)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    torch.manual_seed(7)
    one_graph = loss.of(sum((sums_of(net, loss)(part) for part in parts), torch.zeros(loss.width)))
    one_graph.backward()
    after = torch.rand(1)
    expected = gradients(net)
    net.zero_grad()
    net.load_state_dict(net.state_dict() | before)
    torch.manual_seed(7)
    value, backward = loss_in_parts(net, parts, sums_of(net, loss), loss)
    backward()
    assert torch.equal(torch.rand(1), after), "and what is drawn next is what it would have been"
    assert value.item() == pytest.approx(one_graph.item(), rel=1e-6)
    for gradient, wanted in zip(gradients(net), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_running_statistics_move_as_far_as_with_a_whole_batch_and_only_once() -> None:
    loss, net, other = build_loss(Dice()), network(norm="batch"), network(norm="batch")
    for model in (net, other):
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.fill_(100.0)  # far from what any batch has
    sums_of(other, loss)(BATCH)
    _, backward = loss_in_parts(net, split(BATCH, 2), sums_of(net, loss), loss)
    moved = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for name, buffer in other.named_buffers():
        if "running" in name:
            torch.testing.assert_close(moved[name], buffer, rtol=0.01, atol=0.1)
            assert buffer.max() < 95
    backward()
    assert all(torch.equal(buffer, moved[name]) for name, buffer in net.named_buffers())
    momenta = {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {0.1}
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(("images", "at_once"), [(7, 4), (7, 2), (6, 6), (1, 1), (16, 4)])
def test_parts_are_of_nearly_one_size(images: int, at_once: int) -> None:
    rows = np.arange(images)
    parts = split(Batch(torch.zeros(images, 2, 2, 4), rows), at_once)
    sizes = {len(part.rows) for part in parts}
    assert np.concatenate([part.rows for part in parts]).tolist() == rows.tolist()
    assert max(sizes) <= at_once and max(sizes) - min(sizes) <= 1


def in_parts(run: Run, trial: str, parts: int) -> None:
    task_of(run, trial, replace(TINY, epochs=2))
    (run.trial(trial).path / "parts").write_text(f"{parts}\n")


def test_a_trial_in_parts_trains_and_scores_as_one_in_whole_batches_whatever_the_workers(
    run: Run, tmp_path: Path
) -> None:
    config = replace(TINY, epochs=2)
    whole = trained(run, "whole", config, nothing)
    in_parts(run, "parts", 4)
    in_parts(run, "pair", 2)
    alone = trained(run, "parts", config, nothing)
    pair = together(run, "pair", config, 2, tmp_path)
    for folder, at_once in ((whole, None), (alone, 2), (pair, 2)):
        assert [row.micro_batch for row in folder.rows()] == [at_once] * 2
        for row, expected in zip(folder.rows(), whole.rows(), strict=True):
            assert row.train_loss == pytest.approx(expected.train_loss, rel=1e-4)
            assert row.val_loss == pytest.approx(expected.val_loss, rel=1e-4)
            assert row.dice == pytest.approx(expected.dice, abs=5e-3)
