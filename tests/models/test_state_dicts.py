"""An encoder's weights fit exactly or are refused, and no file of them runs code."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from brainseg.models.weights import load_weights, require_weights
from tests.support.encoders import copied, encoder, other, same, save, shared

torch.set_num_threads(1)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_saved_encoder_is_loaded_exactly(tmp_path: Path, suffix: str) -> None:
    other = encoder("mobilenet_v2")
    for tensor in other.state_dict().values():
        tensor.add_(1)
    path = save(other.state_dict(), tmp_path / f"weights{suffix}")
    network = encoder("mobilenet_v2")
    assert not same(network, other)
    load_weights(network, path, name="mobilenet_v2")
    assert same(network, other)


def test_the_real_pretrained_encoder_fits_and_is_not_random(mobilenet_weights: Path) -> None:
    network = encoder("mobilenet_v2")
    load_weights(network, mobilenet_weights, name="mobilenet_v2")
    stored = torch.load(mobilenet_weights, weights_only=True)
    assert all(torch.equal(tensor, stored[key]) for key, tensor in network.state_dict().items())
    require_weights("mobilenet_v2", str(mobilenet_weights))


def colour_layer(network: nn.Module) -> Tensor:
    weights: Tensor = network.get_submodule("features.0.0").weight
    return weights


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_first_layer_of_colours_is_adapted_as_the_library_adapts_its_own(
    tmp_path: Path, channels: int
) -> None:
    theirs = encoder("mobilenet_v2")
    path = save(theirs.state_dict(), tmp_path / "weights.pth")
    theirs.set_in_channels(channels, pretrained=True)
    network = smp.encoders.get_encoder("mobilenet_v2", in_channels=channels, weights=None)
    load_weights(network, path, name="mobilenet_v2")
    assert colour_layer(network).shape[1] == channels
    assert torch.allclose(colour_layer(network), colour_layer(theirs))
    assert same(network, theirs)
    require_weights("mobilenet_v2", str(path), channels)


def test_weights_of_as_many_channels_as_the_images_are_loaded_as_they_are(tmp_path: Path) -> None:
    grey = smp.encoders.get_encoder("mobilenet_v2", in_channels=1, weights=None)
    path = save(grey.state_dict(), tmp_path / "medical.pth")
    network = smp.encoders.get_encoder("mobilenet_v2", in_channels=1, weights=None)
    load_weights(network, path, name="mobilenet_v2")
    assert same(network, grey)
    with pytest.raises(ValueError, match=r"the first is 'features\.0\.0\.weight'"):
        load_weights(encoder("mobilenet_v2"), path, name="mobilenet_v2")


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = encoder().state_dict()
    kept = {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}
    load_weights(encoder(), save(kept, tmp_path / "old.pth"), name="resnet18")


@pytest.mark.parametrize(
    "head",
    [
        *("fc.weight", "module.fc.bias", "head.weight", "classifier.1.weight", "last_linear.bias"),
        "n_averaged",  # a counter of torch's AveragedModel
    ],
)
def test_a_classification_head_is_passed_over(tmp_path: Path, head: str) -> None:
    state = shared("resnet18").state_dict() | {head: torch.zeros(1000)}
    network = encoder()
    load_weights(network, save(state, tmp_path / "whole.pth"), name="resnet18")
    assert same(network, shared("resnet18"))


def test_what_is_neither_the_encoder_s_nor_a_head_is_refused_by_name(tmp_path: Path) -> None:
    state = shared("resnet18").state_dict() | {"layer4.1.conv3.weight": torch.zeros(512)}
    path = save(state, tmp_path / "other.pth")
    network = other(encoder())
    before = copied(network)
    with pytest.raises(ValueError) as error:
        load_weights(network, path, name="resnet18")
    assert str(error.value).startswith(
        f"{path} does not fit the encoder 'resnet18': 1 of the file's tensors belong neither to "
        "it nor to a head, the first is 'layer4.1.conv3.weight'; "
        "did you mean 'layer4.1.conv2.weight'"
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_deeper_sibling_that_has_every_tensor_is_refused(tmp_path: Path) -> None:
    # Each tensor of resnet18 is in resnet34, of the same shape; they are other weights.
    path = save(shared("resnet34").state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(ValueError, match=r"neither to it nor to a head, the first is 'layer1\.2"):
        load_weights(encoder(), path, name="resnet18")


def test_a_missing_tensor_is_refused_by_name_with_what_may_be_meant(tmp_path: Path) -> None:
    state = {f"theirs.{key}": tensor for key, tensor in encoder().state_dict().items()}
    path = save(state, tmp_path / "prefixed.pth")
    with pytest.raises(ValueError) as error:
        load_weights(encoder(), path, name="resnet18")
    assert str(error.value).startswith(
        f"{path} does not fit the encoder 'resnet18': 100 of its 120 tensors are missing or of "
        "another shape, the first is 'conv1.weight'; did you mean 'theirs.conv1.weight'"
    )


def test_where_no_name_is_alike_the_message_shows_how_the_file_s_begin(tmp_path: Path) -> None:
    query = {f"module.encoder_q.{key}": value for key, value in encoder().state_dict().items()}
    path = save(query, tmp_path / "moco.pth")
    with pytest.raises(ValueError, match=r"'conv1\.weight'; those of the file begin with 'module"):
        load_weights(encoder(), path, name="resnet18")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_encoder_is_refused_and_loads_nothing(
    tmp_path: Path, suffix: str
) -> None:
    path = save(shared("resnet50").state_dict(), tmp_path / f"weights{suffix}")
    network = encoder()
    with pytest.raises(ValueError, match="does not fit the encoder 'resnet18'"):
        load_weights(network, path, name="resnet18")
    assert same(network, encoder())


class Touch:
    """Unpickled, it makes a folder: what a hostile file would do, without the harm."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.pth"
    save({"conv1.weight": Touch(marker)}, path)
    with pytest.raises(ValueError, match=r"hostile\.pth cannot be read as a state dict"):
        load_weights(encoder(), path, name="resnet18")
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is hostile indeed
    assert marker.exists()


def test_a_bare_pickle_cannot_run_code_either(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.pth"
    path.write_bytes(pickle.dumps({"conv1.weight": Touch(marker)}, protocol=2))
    with pytest.raises(ValueError, match="cannot be read as a state dict"):
        load_weights(encoder(), path, name="resnet18")
    assert not marker.exists()
