"""Tensors that cannot be weights are refused by name before the first trial."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainseg.models.weights import require_weights
from tests.support.encoders import encoder, save, shared

torch.set_num_threads(1)
FIRST, VARIANCE, COUNTER = "conv1.weight", "bn1.running_var", "bn1.num_batches_tracked"


def one_infinite(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed[3, 1, 2, 2] = float("inf")
    return changed


def quantised(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def nested(tensor: Tensor) -> Tensor:
    return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


CASES: dict[str, tuple[str, Callable[[Tensor], Tensor], str]] = {
    "nan": (
        FIRST,
        lambda t: t * float("nan"),
        "of whose 9408 values 9408 are not finite in float32, the first nan; take another checkp",
    ),
    "inf": (FIRST, one_infinite, "of whose 9408 values 1 is not finite in float32, the first inf;"),
    "too large": (
        FIRST,
        lambda t: t.double().abs() + 1e300,
        "of whose 9408 values 9408 are not finite in float32, the first ",
    ),
    "half nan": (FIRST, lambda t: t.half() * float("nan"), "of whose 9408 values 9408 are not fin"),
    "variance": (VARIANCE, lambda t: t - 2.5, "with the value -1.5, and no variance is below 0"),
    "counter": (COUNTER, lambda t: t * float("nan"), "of whose 1 values 1 is not finite in flo"),
    "int8": (FIRST, lambda t: t.to(torch.int8), "which is of int8, and weights are floats; save"),
    "bool": (FIRST, lambda t: t > 0, "which is of bool, and weights are floats"),
    "complex": (FIRST, lambda t: t.to(torch.complex64), "which is of complex64, and weights are"),
    "sparse": (FIRST, Tensor.to_sparse, "which is not stored densely (sparse_coo); save it with "),
    "nested": (FIRST, nested, "which is not stored densely (nested)"),
    "quantised": (FIRST, quantised, "which is quantised (qint8), and weights are floats; save the"),
    "meta": (FIRST, lambda t: t.to("meta"), "which has a shape and no values; save the model aft"),
}


@pytest.mark.filterwarnings("ignore")  # of torch, about sparse and quantised tensors
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tensor_that_cannot_be_weights_is_named(tmp_path: Path, case: str, channels: int) -> None:
    key, change, fault = CASES[case]
    state = shared("resnet18").state_dict()
    wrong = {f"module.{name}": t for name, t in (state | {key: change(state[key])}).items()}
    path = save(wrong, tmp_path / "w.pth")
    with warnings.catch_warnings(record=True) as said, pytest.raises(ValueError) as error:
        require_weights("resnet18", str(path), channels)
    if channels == 1:  # the colours of the first layer are summed
        fault = fault.replace("9408", "3136")
    assert str(error.value).startswith(f"{path} holds 'module.{key}', {fault}")
    assert not said


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda t: t[:, :2], "64x2x7x7"),
        (lambda t: t[:0], "0x3x7x7"),
        (lambda t: torch.tensor(1.0), "one number"),
    ],
)
def test_a_tensor_of_another_shape_is_told_with_both(
    tmp_path: Path, change: Callable[[Tensor], Tensor], shape: str
) -> None:
    state = shared("resnet18").state_dict()
    path = save(state | {FIRST: change(state[FIRST])}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"first is 'conv1.weight', {shape} in place of 64x3x7x7$"):
        require_weights("resnet18", str(path))


def test_what_surrounds_an_encoder_may_hold_anything(tmp_path: Path) -> None:
    head = {"fc.weight": torch.full((3,), float("nan")), "decoder.a": torch.zeros(0, dtype=int)}
    path = save(shared("resnet18").state_dict() | head, tmp_path / "w.pth")
    assert require_weights("resnet18", str(path)) == ""


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_accepted_and_told(tmp_path: Path, kind: torch.dtype) -> None:
    state = {
        k: v.to(kind) if v.is_floating_point() else v for k, v in encoder().state_dict().items()
    }
    path = save(state, tmp_path / "half.safetensors")
    name = str(kind).removeprefix("torch.")
    assert require_weights("resnet18", str(path)) == (
        f"{path} holds weights of {name}; training continues in float32"
    )


def test_double_precision_and_parameters_are_weights_like_others(tmp_path: Path) -> None:
    state = {k: nn.Parameter(v.double(), False) for k, v in encoder().state_dict().items()}
    path = tmp_path / "double.pth"
    torch.save(state, path)
    assert require_weights("resnet18", str(path)) == ""
