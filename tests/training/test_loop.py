"""An epoch lowers the loss or says where it broke; a score is the same however work is shared."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from brainseg.config import hyperparameters
from brainseg.config.hyperparameters import AdamW, Dice, DiceBce, FocalTversky, Lovasz, Sgd
from brainseg.data.pipeline.batch import Batch
from brainseg.evaluation.metrics import count_pixels, dice
from brainseg.models.network import Network
from brainseg.models.plain_unet import PlainUnet
from brainseg.training.compute.machine import Machine
from brainseg.training.compute.plan import Compute
from brainseg.training.guards.finite import NotFinite
from brainseg.training.loop import Scores, score_epoch, train_steps
from brainseg.training.losses import Loss, build_loss, pixel_sums
from brainseg.training.optim import build_optimizer
from brainseg.training.schedules import ScheduleFunction, Setting

torch.set_num_threads(1)
CPU = Machine(torch.device("cpu"))
SLICES = 12
GENERATOR = torch.Generator().manual_seed(0)
MASK_SHW = torch.zeros(SLICES, 16, 16, dtype=torch.uint8)
for row in range(SLICES - 2):  # the last two slices have no tumour
    MASK_SHW[row, row % 5 : row % 5 + 7, 4:12] = 1
NOISE_SCHW = torch.randint(0, 100, (SLICES, 3, 16, 16), generator=GENERATOR)
IMAGE_SCHW = (NOISE_SCHW + 120 * MASK_SHW[:, None]).to(torch.uint8)  # tumour is brighter
SLICE_SHWD = torch.cat([IMAGE_SCHW, MASK_SHW[:, None]], dim=1).permute(0, 2, 3, 1)
SHOWN_NC = torch.arange(3).expand(SLICES, 3)  # each channel shows itself
DICE = build_loss(Dice())
SCALING_S33 = torch.tensor([255.0, 100.0, 50.0]).expand(SLICES, 3, 3)  # ceiling, mean, deviation


class Threshold(nn.Module):
    """Calls tumour what is brighter than the slice's mean: exact, whatever is beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.0))

    def forward(self, image_BCHW: Tensor, scaling_BC3: Tensor) -> Tensor:
        return image_BCHW[:, 0].float() - scaling_BC3[:, 0, 1, None, None] - self.level


def logits_of(network: nn.Module, batch: Batch) -> Tensor:
    logits_BHW: Tensor = network(batch.image_BCHW, SCALING_S33[batch.rows])
    return logits_BHW


def small_network() -> Network:
    torch.manual_seed(0)
    return Network(PlainUnet(width=4, depth=1, dropout=0.0, norm="batch"))


def batches(rows: Iterable[int], size: int) -> list[Batch]:
    order = np.array(list(rows))
    return [
        Batch(SLICE_SHWD[some], some)
        for some in (order[start : start + size] for start in range(0, len(order), size))
    ]


def at_rate(lr: float) -> ScheduleFunction:
    return lambda step: Setting(lr=lr, momentum=0.0)


def steps(
    network: nn.Module,
    data: list[Batch],
    *,
    loss: Loss = DICE,
    schedule: ScheduleFunction = at_rate(0.02),  # noqa: B008
    first_step: int = 0,
    clip_norm: float = 1.0,
    images_at_once: int = SLICES,
    optimizer: torch.optim.Optimizer | None = None,
    machine: Machine = CPU,
) -> Iterator[Tensor]:
    """The steps of an epoch, by plain gradient descent unless an optimizer is given."""
    return train_steps(
        network,
        data,
        loss,
        optimizer or build_optimizer(network, Sgd(lr=99.0, momentum=0.0, weight_decay=0.0)),
        schedule,
        machine,
        scaling_NC3=SCALING_S33,
        shown_NC=SHOWN_NC,
        first_step=first_step,
        clip_norm=clip_norm,
        images_at_once=images_at_once,
    )


def mean(losses: Iterator[Tensor]) -> float:
    return torch.stack(list(losses)).mean().item()


def loss_of(network: nn.Module, batch: Batch) -> Tensor:
    return DICE.of(pixel_sums(logits_of(network, batch), batch.mask_BHW))


def parameters(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in network.parameters()])


# Training


@pytest.mark.parametrize("config", [Dice(), DiceBce(), FocalTversky(), Lovasz()], ids=str)
def test_epochs_lower_the_loss_on_a_problem_that_can_be_learnt(
    config: hyperparameters.Loss,
) -> None:
    network, data = small_network(), batches(range(SLICES), 4)
    optimizer, loss = build_optimizer(network, AdamW()), build_loss(config)
    losses = [mean(steps(network, data, loss=loss, optimizer=optimizer)) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert dice(score(network, range(SLICES), 4).counts_S3.sum(0).numpy()) > 0.9


def test_bfloat16_learns_too() -> None:
    network, data = small_network(), batches(range(SLICES), 4)
    optimizer, machine = (
        build_optimizer(network, AdamW()),
        Machine(CPU.device, Compute(precision="bfloat16")),
    )
    losses = [mean(steps(network, data, optimizer=optimizer, machine=machine)) for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_every_step_yields_the_loss_of_its_batch_before_it_was_taken() -> None:
    network, data = Threshold(), batches(range(SLICES), 5)
    before = loss_of(network, data[0]).item()
    assert list(steps(network, data[:1], schedule=at_rate(9.0))) == [pytest.approx(before)]
    assert loss_of(network, data[0]).item() != pytest.approx(before)

    each = [loss_of(network, batch).item() for batch in data]
    assert list(steps(network, data, schedule=at_rate(0.0))) == pytest.approx(each)


def test_no_step_is_taken_before_it_is_asked_for() -> None:
    network = small_network()
    before = parameters(network)
    waiting = steps(network, batches(range(SLICES), 4))
    assert torch.equal(parameters(network), before)
    next(waiting)
    after_one = parameters(network)
    assert not torch.equal(after_one, before)
    next(waiting)
    assert not torch.equal(parameters(network), after_one)


def test_each_step_takes_the_rate_of_its_own_number() -> None:
    asked: list[int] = []

    def schedule(step: int) -> Setting:
        asked.append(step)
        return Setting(lr=0.0, momentum=0.0)

    network = small_network()
    before = parameters(network)
    list(steps(network, batches(range(SLICES), 4), schedule=schedule, first_step=30))
    assert asked == [30, 31, 32]
    assert torch.equal(parameters(network), before)  # the optimizer's own rate is never used


@pytest.mark.parametrize(("clip_norm", "length"), [(0.25, 0.25), (1e9, None), (0.0, None)])
def test_gradients_are_scaled_down_to_the_norm_or_left_alone(
    clip_norm: float, length: float | None
) -> None:
    network, data = small_network(), batches(range(4), 4)
    gradients = torch.autograd.grad(loss_of(network, data[0]), list(network.parameters()))
    full = torch.cat([gradient.flatten() for gradient in gradients])
    assert full.norm() > 0.25
    before = parameters(network)
    list(steps(network, data, schedule=at_rate(1.0), clip_norm=clip_norm))
    expected = full if length is None else full / full.norm() * length
    assert torch.allclose(before - parameters(network), expected, atol=1e-5)


def test_training_leaves_no_network_in_evaluation_mode() -> None:
    network = small_network().eval()
    before = [b.clone() for b in network.buffers()]
    list(steps(network, batches(range(4), 4)))
    assert network.training
    assert any(not torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))


def broken_by_infinity(network: nn.Module) -> None:
    network.body.head.weight.data.fill_(inf)


def broken_by_nan(network: nn.Module) -> None:
    network.body.head.bias.data.fill_(nan)


@pytest.mark.parametrize("breaks", [broken_by_infinity, broken_by_nan])
def test_a_loss_that_is_no_number_names_step_and_slices(
    breaks: Callable[[nn.Module], None],
) -> None:
    network = small_network()
    breaks(network)
    with pytest.raises(NotFinite) as error:
        list(steps(network, batches([7, 3, 5], 2), loss=build_loss(DiceBce()), first_step=40))
    assert error.value.rows == [7, 3]
    assert str(error.value) in ("the loss became nan at step 40", "the loss became inf at step 40")


def broken_at(step: int, value: float) -> Loss:
    """``value`` at the loss's call number ``step``, and there alone; else that of Dice."""
    calls = count()

    def of(sums: Tensor) -> Tensor:
        loss: Tensor = DICE.of(sums)
        return loss * value if next(calls) == step else loss

    return Loss(5, pixel_sums, of)


@pytest.mark.parametrize("images_at_once", [SLICES, 1])
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize(("broken", "taken"), [(0, 2), (2, 4), (4, 6), (5, 6)])
def test_the_step_after_a_loss_that_is_no_number_is_the_last_and_the_broken_one_is_named(
    broken: int, taken: int, value: float, images_at_once: int
) -> None:
    data, asked = batches(range(SLICES), 2), []

    def schedule(step: int) -> Setting:
        asked.append(step)
        return Setting(lr=0.01, momentum=0.0)

    losses = []
    with pytest.raises(NotFinite, match=f"at step {30 + broken}$") as error:
        for loss in steps(
            small_network(),
            data,
            loss=broken_at(broken, value),
            schedule=schedule,
            first_step=30,
            images_at_once=images_at_once,
        ):
            losses.append(loss.item())
    assert error.value.rows == data[broken].rows.tolist()
    assert asked == list(range(30, 30 + taken))
    assert not isfinite(losses[broken]) and all(map(isfinite, losses[:broken]))


class Reads(TorchDispatchMode):
    """Every number that the host reads of a tensor, which has it wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._local_scalar_dense.default:
            self.values.append(result)
        return result


@pytest.mark.parametrize("config", [Dice(), DiceBce(), FocalTversky(), Lovasz()], ids=str)
@pytest.mark.parametrize("images_at_once", [SLICES, 1])
def test_a_step_reads_no_number_but_the_loss_of_the_step_before(
    config: hyperparameters.Loss, images_at_once: int
) -> None:
    losses, read, data = [], [], batches(range(SLICES), 3)
    with Reads() as reads:
        for loss in steps(
            small_network(), data, loss=build_loss(config), images_at_once=images_at_once
        ):
            losses.append(loss)
            read.append(len(reads.values))
    assert read == [0, 1, 2, 3]
    assert reads.values == torch.stack(losses).tolist()


def test_scoring_reads_no_number_before_its_end() -> None:
    with Reads() as reads:
        score(small_network(), range(SLICES), 3)
    assert reads.values == []


# Scoring


def score(
    network: nn.Module,
    rows: Iterable[int],
    size: int,
    *,
    loss: Loss = DICE,
    scaling_S33: Tensor = SCALING_S33,
) -> Scores:
    return score_epoch(network, batches(rows, size), loss, CPU, scaling_NC3=scaling_S33)


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("network", [Threshold(), small_network()], ids=["exact", "unet"])
def test_counts_are_those_of_the_whole_at_once_whatever_the_batch_size(
    network: nn.Module, size: int
) -> None:
    with torch.no_grad():
        logits_SHW = network.eval()(IMAGE_SCHW, SCALING_S33)
    order = np.random.default_rng(size).permutation(SLICES)
    scored = score(network, order, size)
    assert torch.equal(scored.counts_S3, count_pixels(logits_SHW, MASK_SHW))
    assert scored.visits_S.tolist() == [1] * SLICES


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("config", [Dice(), DiceBce(), FocalTversky(), Lovasz()], ids=str)
def test_the_loss_is_that_of_the_whole_at_once_whatever_the_batch_size(
    config: hyperparameters.Loss, size: int
) -> None:
    network, loss = small_network().eval(), build_loss(config)
    with torch.no_grad():
        whole = loss.sums(network(IMAGE_SCHW, SCALING_S33), MASK_SHW)
    sums = score(network, range(SLICES), size, loss=loss).sums
    assert sums.dtype == torch.float64
    assert sums.tolist() == pytest.approx(whole.tolist(), rel=1e-5)
    assert loss.of(sums).item() == pytest.approx(loss.of(whole).item(), rel=1e-5)


def test_two_workers_score_what_one_would() -> None:
    network = small_network()
    whole = score(network, range(SLICES), 4)
    left, right = score(network, range(0, SLICES, 2), 4), score(network, range(1, SLICES, 2), 4)
    assert torch.equal(left.counts_S3 + right.counts_S3, whole.counts_S3)
    assert torch.equal(left.visits_S + right.visits_S, whole.visits_S)
    assert torch.allclose(left.sums + right.sums, whole.sums)


def test_every_slice_is_scaled_by_its_own_row() -> None:
    scaling_S33 = SCALING_S33.clone()
    scaling_S33[3, :, 1] = 300.0  # a mean that no pixel is above
    scored = score(Threshold(), [5, 3, 4], 3, scaling_S33=scaling_S33)
    assert scored.counts_S3[3].tolist() == [0, 0, int(MASK_SHW[3].sum())]
    assert (scored.counts_S3[[4, 5], 0] > 0).all()


def test_slices_that_are_not_a_worker_s_own_count_nothing() -> None:
    scored = score(Threshold(), [4, 2], 2)
    assert scored.visits_S.nonzero().flatten().tolist() == [2, 4]
    assert scored.counts_S3.sum(1).nonzero().flatten().tolist() == [2, 4]


def test_a_worker_without_slices_has_a_share_of_zeros() -> None:
    scored = score(Threshold(), [], 4)
    assert not scored.counts_S3.any() and not scored.visits_S.any() and not scored.sums.any()


def test_a_slice_scored_twice_shows_in_its_visits() -> None:
    assert score(Threshold(), [4, 2, 4], 2).visits_S[4] == 2


def test_scoring_changes_nothing_in_the_network() -> None:
    network = small_network().train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    score(network, range(SLICES), 4)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert not network.training
