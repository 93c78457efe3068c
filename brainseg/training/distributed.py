"""The processes that train one network together, known from torch.distributed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process, ``rank``, among the ``world`` processes that train one network together."""

    rank: int
    world: int

    @classmethod
    def current(cls) -> "Ranks":
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls(0, 1)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's ``tensor``, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, value: T) -> T:
        """Rank 0's ``value``, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def decided(self, decide: Callable[[], T]) -> T:
        """What rank 0 decides, on every rank; a ValueError of its is raised on every rank."""
        if self.world == 1:
            return decide()
        box: tuple[list[T], str] | None = None
        if self.rank == 0:
            try:
                box = [decide()], ""
            except ValueError as error:
                box = [], str(error)
        shared = self.broadcast(box)
        assert shared is not None, "rank 0 has decided"
        values, problem = shared
        if problem:
            raise ValueError(problem)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """Every rank's ``value``, in the order of the ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


def distributed(network: nn.Module, ranks: Ranks) -> nn.Module:
    """``network`` in DDP; as it is where one process trains it alone."""
    if ranks.world == 1:
        return network
    return DistributedDataParallel(network, broadcast_buffers=False)


def share_batch_statistics(network: nn.Module, ranks: Ranks) -> None:
    """Give every rank the mean of all ranks' batch-norm statistics, so that all score alike.

    Those of frozen parts are the same everywhere, and are not touched.
    """
    if ranks.world == 1:
        return
    for module in network.modules():
        for buffer in module.buffers(recurse=False):
            if module.training and buffer.is_floating_point():
                ranks.all_reduce(buffer)
                buffer /= ranks.world
