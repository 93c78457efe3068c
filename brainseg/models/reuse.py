"""What a process keeps of the networks it built last, for the next trial that it trains.

A trial of the same network need not find its blocks, read its weights and hash them again. What is
kept is bounded, and is of files only as long as they are the same on disk.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import torch
from torch import Tensor

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Identity = tuple[str | int, ...]


class Recent(Generic[K, V]):
    """The values of the keys that were asked for last, up to a total weight; threads share it."""

    def __init__(self, most: int, weight: Callable[[V], int] = lambda value: 1) -> None:
        self._most, self._weight = most, weight
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of ``key``, made if it is not kept."""
        if (value := self.find(key)) is None:
            value = make()
            self.keep(key, value)
        return value

    def find(self, key: K) -> V | None:
        """The value of ``key``, if it is kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: K, value: V) -> None:
        """Keep the value, and drop those asked for longest ago that leave no room for it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while self.weight > self._most:
                self._values.popitem(last=False)

    @property
    def weight(self) -> int:
        """Of all that is kept."""
        return sum(map(self._weight, self._values.values()))


@dataclass(frozen=True)
class StartState:
    """An encoder's tensors as they were loaded, never changed, and SHA-256 of some of them."""

    tensors: dict[str, Tensor]
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def digest(self, name: str, tensor: Tensor, hash_of: Callable[[Tensor], str]) -> str:
        """``hash_of(tensor)``; taken from here if it has the bits that were loaded."""
        loaded = self.tensors.get(name)
        if loaded is None or not _same_bits(tensor, loaded):
            return hash_of(tensor)
        if name not in self.digests:
            self.digests[name] = hash_of(loaded)
        return self.digests[name]


def identities(paths: Sequence[Path]) -> tuple[Identity, ...]:
    """What changes whenever a file is written or replaced; of a missing file its path alone."""
    return tuple((str(path), *_stat(path)) for path in paths)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        stat = os.stat(path)
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Compared as integers: 0.0 equals -0.0, and no NaN itself."""
    if a.dtype != b.dtype or a.shape != b.shape or a.is_complex():
        return False
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = kinds[a.element_size()]
    return torch.equal(a.detach().cpu().view(kind), b.view(kind))
