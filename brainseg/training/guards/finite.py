"""Once an epoch, before anything is written: no weight, statistic or moment is NaN or infinite.

The loss of a step is computed before the step, so that the last step of all is seen here alone.
"""

from collections.abc import Iterator
from math import inf

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from brainseg.training.distributed import Ranks
from brainseg.training.task import Diverged

REMEDY = "a lower learning rate, a clip_norm above 0 or precision float32 may prevent it"


@torch.no_grad()
def require_finite(network: nn.Module, optimizer: Optimizer, ranks: Ranks) -> None:
    """Look at every weight, batch-norm statistic and moment of the optimizer; all ranks agree.

    Raises:
        Diverged: some are NaN or infinite; the first is named.
    """
    tensors = dict(_floating(network, optimizer))
    largest = get_total_norm(list(tensors.values()), inf)
    found = ranks.all_reduce((~largest.isfinite()).float())
    if found:
        broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        names = next((names for names in ranks.all_gather(broken) if names), broken)
        raise Diverged(
            f"{len(names)} of {len(tensors)} tensors of the network and its optimizer are no "
            f"longer finite, the first is {names[0]!r}; {REMEDY}"
        )


def _floating(network: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Name and value of what training changes; whole numbers are always finite."""
    names: dict[Tensor, str] = {p: name for name, p in network.named_parameters()}
    yield from ((name, parameter) for parameter, name in names.items())
    yield from ((name, b) for name, b in network.named_buffers() if b.is_floating_point())
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and key != "step":
                yield f"{key} of {names[parameter]}", value
