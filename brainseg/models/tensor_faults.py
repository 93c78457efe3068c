"""What cannot be an encoder's weights: tensors of another kind, and numbers that are none."""

import torch
from torch import Tensor

ANOTHER = "take another checkpoint of that training, or other weights"


def kind_fault(tensor: Tensor, target: Tensor) -> str:
    """Why ``tensor`` cannot take the place of ``target``, whatever its values; "" if it can."""
    floats = "weights are floats; save the floats that it was made from"
    if tensor.is_quantized:
        return f"which is quantised ({_dtype(tensor)}), and {floats}"
    if tensor.is_nested or tensor.layout is not torch.strided:
        layout = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        return f"which is not stored densely ({layout}); save it with .to_dense()"
    if tensor.is_meta:
        return "which has a shape and no values; save the model after its weights were loaded"
    if tensor.is_complex() or (not tensor.is_floating_point() and target.is_floating_point()):
        return f"which is of {_dtype(tensor)}, and {floats}"
    return ""


def value_fault(name: str, tensor: Tensor, target: Tensor) -> str:
    """What is wrong with a tensor that is to become the one of that name; "" if nothing is."""
    if fault := kind_fault(tensor, target):
        return fault
    values = tensor.to(torch.float32) if target.is_floating_point() else tensor
    if not (finite := values.isfinite()).all():
        bad = tensor.flatten()[~finite.flatten()]
        return (
            f"of whose {values.numel()} values {len(bad)} {'is' if len(bad) == 1 else 'are'} not "
            f"finite in float32, the first {bad[0].item():g}; {ANOTHER}"
        )
    if name.endswith("running_var") and (low := values.min().item()) < 0:
        return f"with the value {low:g}, and no variance is below 0; {ANOTHER}"
    return ""


def is_short(tensor: Tensor) -> bool:
    """Whether its floats have fewer bits than those that an encoder trains with."""
    return tensor.is_floating_point() and tensor.element_size() < 4


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
