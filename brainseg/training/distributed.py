"""The processes that train one network together, found in torch.distributed."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """This process among those that train one network together."""

    rank: int
    world: int

    @classmethod
    def found(cls) -> "Peers":
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls(0, 1)

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of every worker's ``tensor``."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def agree(self, value: T) -> T:
        """Rank 0's ``value``, on every worker."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Every worker's ``value``, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


def distributed(network: nn.Module, peers: Peers) -> nn.Module:
    if peers.world == 1:
        return network
    return DistributedDataParallel(network, broadcast_buffers=False)


def share_batch_statistics(network: nn.Module, peers: Peers) -> None:
    """Give every worker the mean of all workers' batch-norm statistics, so that all score alike.

    Those of frozen parts are the same everywhere, and are not touched.
    """
    for module in network.modules():
        for buffer in module.buffers(recurse=False):
            if peers.world > 1 and module.training and buffer.is_floating_point():
                peers.add_up(buffer)
                buffer /= peers.world
