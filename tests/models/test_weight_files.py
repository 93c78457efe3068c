"""A file of weights is read where its tensors are beyond doubt, else refused by what it is."""

import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from brainseg.models.weights import load_weights
from tests.support.encoders import encoder, other, same, save, shared

torch.set_num_threads(1)


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        load_weights(encoder(), path, name="resnet18")
    return str(error.value)


def state() -> dict[str, Any]:
    return dict(shared("resnet18").state_dict())


def adam() -> dict[str, Any]:
    """The state of an optimiser that made a step: tensors by numbers and by names."""
    weight = nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def lightning() -> dict[str, Any]:
    tensors = {f"net.encoder.{key}": tensor for key, tensor in state().items()}
    return {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
        "state_dict": tensors | {"net.decoder.weight": torch.zeros(3)},
        "optimizer_states": [adam()],
        "lr_schedulers": [{"last_epoch": 3}],
        "loops": {"fit_loop": {"state_dict": {"a": torch.zeros(1)}}},
        "callbacks": {},
        "hyper_parameters": {"lr": 1e-3},
    }


HOLDERS: dict[str, Callable[[], object]] = {
    "lightning": lightning,
    "an optimiser beside it": lambda: {"model": state(), "optimizer": adam(), "epoch": 3},
    "ema alone": lambda: {"ema": {"state_dict": state()}},
    "weights": lambda: {"weights": state()},
    "two networks": lambda: {"encoder": state(), "decoder": {"a.weight": torch.zeros(3)}},
    "numbers among the tensors": lambda: {**state(), "epoch": 3, "best": 0.5},
    "distributed": lambda: {f"module.{key}": tensor for key, tensor in state().items()},
    "parameters": lambda: {k: nn.Parameter(v, False) for k, v in state().items()},
    "a segmentation model of torchvision": lambda: {
        **{f"backbone.{key}": tensor for key, tensor in state().items()},
        "classifier.0.weight": torch.zeros(3),
        "aux_classifier.0.weight": torch.zeros(3),
    },
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_tensors_that_lie_in_one_place_are_found(tmp_path: Path, holder: str) -> None:
    network = other(encoder())
    path = tmp_path / "held.pth"
    torch.save(HOLDERS[holder](), path)
    assert load_weights(network, path, name="resnet18") == ""
    assert same(network, shared("resnet18"))


def test_the_content_tells_what_a_file_is_not_its_suffix(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.safetensors")
    torch.save(state(), tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    save_file(state(), tmp_path / "a.pth")
    for name in ("a.safetensors", "a.bin", "a.pth"):
        network = other(encoder())
        load_weights(network, tmp_path / name, name="resnet18")
        assert same(network, shared("resnet18"))


def test_weights_in_two_places_are_refused_with_the_lines_that_choose(tmp_path: Path) -> None:
    path = save({"model": state(), "ema": state(), "epoch": 3}, tmp_path / "twice.pth")
    said = refused(path)
    assert said.startswith(f"{path} holds weights in 2 places ('model' and 'ema'), and which are")
    loaded_as_told(said, tmp_path / "twice.tensors.pth")


class Wrapped(nn.Module):
    """A network in a network, as Lightning's users write them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def loaded_as_told(said: str, tensors: Path) -> None:
    """The two lines of a refusal save tensors that are accepted."""
    lines = [line.strip() for line in said.splitlines()[1:]]
    assert len(lines) == 2
    exec("\n".join(lines), {})
    network = other(encoder())
    load_weights(network, tensors, name="resnet18")
    assert same(network, shared("resnet18"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("held", "names"),
    [
        (
            lambda: {"state_dict": state(), "hyper_parameters": argparse.Namespace(lr=1)},
            "argparse.Namespace,",
        ),
        (lambda: {"model": state(), "loss": np.float64(0.5)}, r"numpy[\w.]*\.scalar, numpy.dtype,"),
        (lambda: shared("resnet18"), r"segmentation_models_pytorch\.[\w.]*\.ResNetEncoder, .*,"),
        (lambda: Wrapped(shared("resnet18")), r"tests\.models\.test_weight_files\.Wrapped, .*,"),
        (lambda: {"model": shared("resnet18"), "epoch": 1}, r"segmentation_models_pytorch\..*,"),
        (
            lambda: {"config": {"lr": 1}, "weights": state(), "args": argparse.Namespace(lr=1)},
            "argparse.Namespace,",
        ),
        (lambda: {**state(), "args": argparse.Namespace(lr=1)}, "argparse.Namespace,"),
    ],
    ids=["lightning", "numpy", "module", "wrapped", "model", "another key", "beside"],
)
def test_what_would_run_code_is_named_and_two_lines_save_the_tensors(
    tmp_path: Path, held: Callable[[], object], names: str, zipped: bool
) -> None:
    path = tmp_path / "whole.ckpt"
    torch.save(held(), path, _use_new_zipfile_serialization=zipped)
    said = refused(path)
    assert re.match(
        f"{path} cannot be read as a state dict: besides tensors it holds {names} and to read such "
        "a pickle can run any code; on a machine where you trust the file, save the tensors alone",
        said,
    )
    loaded_as_told(said, tmp_path / "whole.tensors.pth")


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_of_a_bare_pickle_are_saved_as_tensors(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "arrays.pkl"
    arrays = {key: tensor.numpy() for key, tensor in state().items()}
    path.write_bytes(pickle.dumps({"model": arrays}, protocol=protocol))
    loaded_as_told(refused(path), tmp_path / "arrays.tensors.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_arrays_that_torch_saved_are_saved_as_tensors(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "arrays.pth"
    arrays = {key: tensor.numpy() for key, tensor in state().items()}
    torch.save(arrays, path, _use_new_zipfile_serialization=zipped)
    loaded_as_told(refused(path), tmp_path / "arrays.tensors.pth")


def test_a_flipped_bit_in_a_tensor_is_damage_and_a_file_without_checksums_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "w.pth"
    saved(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert re.search(
        r"it is damaged \(Bad CRC-32 for file 'w/data/\d+'\); copy or d", refused(path)
    )
    checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        saved(path)
    finally:
        torch.serialization.set_crc32_options(checksums)
    network = other(encoder())
    load_weights(network, path, name="resnet18")
    assert same(network, shared("resnet18"))


def test_a_program_of_torchscript_is_refused_with_the_lines_for_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    torch.jit.trace(shared("resnet18").eval(), torch.zeros(1, 3, 64, 64)).save(path)
    said = refused(path)
    assert "it is a program of TorchScript" in said
    loaded_as_told(said, tmp_path / "program.tensors.pth")


def written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/resnet.pth", "")


def cut(path: Path, bytes_left: int, whole: Callable[[Path], Any]) -> None:
    whole(path)
    os.truncate(path, bytes_left % path.stat().st_size)


def saved(path: Path) -> None:
    torch.save(state(), path)


def as_safetensors(path: Path) -> None:
    save_file(state(), path)


def broken(path: Path) -> None:
    """Bytes of the pickle within the zip are others."""
    saved(path)
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "fault"),
    [
        ("empty.pth", written(b""), "it is empty; copy"),
        ("a.pth", written(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of git-lfs"),
        ("a.safetensors", written(b"version https://git-lfs.github.com/"), "`git lfs pull` where"),
        ("page.pth", written(b"\n<!DOCTYPE html>\n<html>"), "it is a web page, not the file"),
        ("page.safetensors", written(b"<HTML>" + b" " * 999), "it is a web page, not the file"),
        ("error.bin", written(b'{"error": "not found"}'), "it is text, no file of weights"),
        ("keras.h5", written(b"\x89HDF\r\n\x1a\n" + bytes(99)), "it is an HDF5 file"),
        ("packed.gz", written(b"\x1f\x8b" + bytes(99)), "a packed archive; unpack it"),
        ("a.zip", zipped, "a zip archive without weights of PyTorch (weights/resnet.pth); unpack"),
        ("a.npz", lambda path: np.savez(path, a=np.ones(3)), "a zip archive without weights of Py"),
        ("a.npy", lambda path: np.save(path, np.ones(3)), "it is an array of NumPy"),
        ("half.pth", lambda path: cut(path, 10**6, saved), "it is cut short; copy or download it"),
        ("broken.pth", broken, "it is damaged (Bad CRC-32 for file 'broken/data.pkl'); copy"),
        ("noise.pth", written(b"\x80\x02ab."), "it is damaged; copy"),
        ("zeros.pth", written(bytes(4000)), "it is no file of PyTorch's; copy"),
        (
            "half.safetensors",
            lambda path: cut(path, 10**6, as_safetensors),
            "it should have 44755224 bytes, it has 1000000; copy",
        ),
        (
            "head.safetensors",
            lambda path: cut(path, 100, as_safetensors),
            "it is cut short, or no safetensors file (its header should take 10608 bytes, and 92 ",
        ),
        ("x.safetensors", written(bytes([9, *[0] * 7]) + b"{'a': 1} "), "its header is damaged"),
        ("list.pth", lambda path: torch.save([1, 2], path), "no tensors by name, but a list"),
        ("one.pth", lambda path: torch.save(torch.ones(3), path), "by name, but a Tensor; take"),
        ("none.pth", lambda path: torch.save({}, path), "by name, but a dict; take"),
        ("keys.pth", lambda path: torch.save({1: torch.ones(3)}, path), "by name, but 1 (Tensor)"),
        (
            "adam.pth",
            lambda path: torch.save({"optimizer": adam(), "epoch": 3}, path),
            "it holds no tensors by name, but 'optimizer' (dict), 'epoch' (int); take the file of",
        ),
    ],
)
def test_a_file_without_weights_is_refused_by_what_it_is(
    tmp_path: Path, name: str, make: Callable[[Path], None], fault: str
) -> None:
    make(tmp_path / name)
    said = refused(tmp_path / name)
    assert said.startswith(f"{tmp_path / name} cannot be read as a state dict: ")
    assert fault in said and "\n" not in said
