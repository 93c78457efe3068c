"""A copy in the host's memory of what training changes, so that it can be written meanwhile."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """Copies a state again and again into the same memory; each copy replaces the last.

    From a GPU it goes through pinned memory, all tensors at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: dict[tuple[Any, ...], Tensor] = {}  # by their places in the state

    def of(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state with each of its tensors copied; valid until the next call."""
        copied: dict[str, Any] = self._copy(state, ())
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        return copied

    def _copy(self, value: Any, place: tuple[Any, ...]) -> Any:
        if isinstance(value, Tensor):
            return self._copied(value.detach(), place)
        if isinstance(value, Mapping):
            copied = copy(value)  # with what PyTorch writes on it: versions of modules
            return _filled(copied, {k: self._copy(item, (*place, k)) for k, item in value.items()})
        if isinstance(value, list | tuple):
            return type(value)(self._copy(item, (*place, n)) for n, item in enumerate(value))
        return value

    def _copied(self, tensor: Tensor, place: tuple[Any, ...]) -> Tensor:
        held = self._held.get(place)
        if held is None or held.shape != tensor.shape or held.dtype != tensor.dtype:
            pinned = self.device.type == "cuda"
            held = torch.empty_like(tensor, device="cpu", pin_memory=pinned)
            self._held[place] = held
        return held.copy_(tensor, non_blocking=True)


def _filled(mapping: Any, items: dict[Any, Any]) -> Any:
    mapping.update(items)
    return mapping
