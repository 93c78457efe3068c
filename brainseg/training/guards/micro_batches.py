"""The gradient of a loss of a whole batch, whose images go through the network part by part.

Soft Dice and its like are ratios of sums over the batch, so the mean of the parts' losses is
another loss. Here the sums of all parts are added first, without gradients; then each part goes
through the network again, and the loss's slope at the total is passed back through its sums.
Dropout draws the same numbers both times. Batch norm averages over a part, and its running
statistics move once, as far as a whole batch would move them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from math import ceil

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from brainseg.data.pipeline.batch import Batch
from brainseg.training.losses import Loss, total_over_workers

SumsOf = Callable[[Batch], Tensor]  # a forward pass: the loss's sums over a batch


def split(batch: Batch, images_at_once: int) -> list[Batch]:
    """Parts of nearly equal size, of at most ``images_at_once``."""
    count = ceil(len(batch.rows) / images_at_once)
    starts = [round(n * len(batch.rows) / count) for n in range(count + 1)]
    return [
        Batch(batch.slices_BHWD[start:end], batch.rows[start:end])
        for start, end in pairwise(starts)
    ]


def loss_in_parts(
    network: nn.Module, parts: Sequence[Batch], sums_of: SumsOf, loss: Loss
) -> tuple[Tensor, Callable[[], None]]:
    """The loss of all parts together, and what adds its gradient to the network's parameters."""
    device = parts[0].slices_BHWD.device
    states = []
    with torch.no_grad(), _shared_statistics(network, len(parts)):
        total = torch.zeros(loss.width, device=device)
        for part in parts:
            states.append(_random_state(device))
            total += sums_of(part)
    total = total_over_workers(total).requires_grad_()
    value = loss.of(total)
    (slope,) = torch.autograd.grad(value, total)
    if dist.is_initialized():
        slope = slope * dist.get_world_size()  # DDP divides by it, see ``total_over_workers``

    def backward() -> None:
        with _fixed_statistics(network):
            for n, (part, state) in enumerate(zip(parts, states, strict=True), start=1):
                _set_random_state(device, state)
                with _in_own_process(network) if n < len(parts) else nullcontext():
                    (slope @ sums_of(part)).backward()

    return value.detach(), backward


def _in_own_process(network: nn.Module) -> AbstractContextManager[None]:
    """Workers exchange gradients with the last part alone."""
    ddp = isinstance(network, DistributedDataParallel)
    return network.no_sync() if ddp else nullcontext()  # type: ignore[operator]


def _random_state(device: torch.device) -> Tensor:
    on_gpu = device.type == "cuda"
    return torch.cuda.get_rng_state(device) if on_gpu else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def _norms(network: nn.Module) -> list[nn.Module]:
    """The modules whose running statistics move in training."""
    modules = (module for module in network.modules() if module.training)
    return [module for module in modules if getattr(module, "running_mean", None) is not None]


@contextmanager
def _shared_statistics(network: nn.Module, parts: int) -> Iterator[None]:
    """Let running statistics move with all parts as far as they would with one whole batch."""
    momenta = {norm: vars(norm).get("momentum") for norm in _norms(network)}
    try:
        for norm, momentum in momenta.items():
            if momentum is not None:
                vars(norm)["momentum"] = 1 - (1 - momentum) ** (1 / parts)
        yield
    finally:
        for norm, momentum in momenta.items():
            vars(norm)["momentum"] = momentum


@contextmanager
def _fixed_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise by each part's own statistics, as before, but leave the running ones alone."""
    norms = _norms(network)
    try:
        for norm in norms:
            vars(norm)["track_running_stats"] = False
        yield
    finally:
        for norm in norms:
            vars(norm)["track_running_stats"] = True
