"""An encoder's starting weights, kept for this process's next trial: not read or hashed again."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


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


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Compared as integers: 0.0 equals -0.0, and no NaN itself."""
    if a.dtype != b.dtype or a.shape != b.shape or a.is_complex():
        return False
    kinds = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = kinds[a.element_size()]
    return torch.equal(a.detach().cpu().view(kind), b.view(kind))
