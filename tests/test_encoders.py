"""Encoders are found by name, filled from files that cannot run code, and frozen block by block."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brainseg.config import ENCODERS, First, Nothing, Whole
from brainseg.encoders import (
    blocks,
    catalogue,
    freeze,
    frozen_modules,
    load_weights,
    require_known,
    require_weights,
)

torch.set_num_threads(1)
FAMILIES = ["vgg16", "mit_b0", "efficientnet-b0", "mobilenet_v2", "resnet18"]


def encoder(name: str = "resnet18") -> nn.Module:
    """From random weights, the same each time."""
    torch.manual_seed(0)
    made: nn.Module = smp.encoders.get_encoder(name, weights=None)
    return made


@cache
def shared(name: str) -> nn.Module:
    """One for all tests that leave it as it is."""
    return encoder(name)


def trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[key], theirs[key]) for key in mine)


def save(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


# Which there are


def test_the_catalogue_has_every_encoder_of_the_library() -> None:
    assert len(catalogue()) >= 76
    assert catalogue() == sorted(set(catalogue()))


def test_every_encoder_that_is_searched_exists_and_has_imagenet_weights() -> None:
    for name in ENCODERS.options:
        require_known(str(name))
        source = smp.encoders.encoders[name]["pretrained_settings"]["imagenet"]
        assert {"repo_id", "revision"} <= set(source)


@pytest.mark.parametrize("name", ["tu-convnext_tiny", "tu-resnet18.a1_in1k"])
def test_an_encoder_of_timm_is_known_by_its_prefix(name: str) -> None:
    require_known(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "there is no encoder 'resnet51'; did you mean 'resnet50' or"),
        ("tu-convnext_tinny", "there is no encoder 'tu-convnext_tinny'; did you mean 'tu-convnext"),
        ("convnext_tiny", "there is no encoder 'convnext_tiny'"),
    ],
)
def test_an_unknown_encoder_is_refused_with_the_names_that_are_close(
    name: str, message: str
) -> None:
    with pytest.raises(ValueError) as error:
        require_known(name)
    assert str(error.value).startswith(message)


# Blocks


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_in_one_block_or_moves_no_feature_map(name: str) -> None:
    network = shared(name).eval()
    found = [key for block in blocks(network) for key in block]
    assert len(found) == len(set(found))
    unreached = [p for key, p in network.named_parameters() if key not in set(found)]
    features = network(torch.randn(1, 3, 64, 64))
    total = torch.stack([feature.sum() for feature in features if feature.requires_grad]).sum()
    for parameter in unreached:
        assert torch.autograd.grad(total, parameter, retain_graph=True, allow_unused=True) == (
            None,
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_block_moves_its_own_feature_map_and_none_before(name: str) -> None:
    network = shared(name).eval()
    parameters = dict(network.named_parameters())
    image_BCHW = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def features() -> list[Tensor]:
        found: list[Tensor] = network(image_BCHW)
        return found

    before, first_moved = features(), []
    for block in blocks(network):
        saved = [parameters[key].detach().clone() for key in block]
        with torch.no_grad():
            for key in block:
                parameters[key].mul_(1.5).add_(0.01)
        moved = [not torch.equal(a, b) for a, b in zip(before, features(), strict=True)]
        with torch.no_grad():
            for key, values in zip(block, saved, strict=True):
                parameters[key].copy_(values)
        first_moved.append(moved.index(True))
    assert first_moved == sorted(set(first_moved))


def test_the_first_two_blocks_of_resnet50_are_the_stem_and_the_first_stage() -> None:
    network = shared("resnet50")
    parameters = dict(network.named_parameters())
    first = [key for block in blocks(network)[:2] for key in block]
    assert {key.split(".")[0] for key in first} == {"conv1", "bn1", "layer1"}
    assert sum(parameters[key].numel() for key in first) == 225_344


@pytest.mark.parametrize("mode", [True, False])
def test_finding_blocks_leaves_the_encoder_and_the_random_numbers_as_they_were(mode: bool) -> None:
    network = encoder("efficientnet-b0").train(mode)
    before = encoder("efficientnet-b0")
    random_state = torch.get_rng_state()
    blocks(network)
    assert same(network, before)
    assert network.training is mode
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


# Freezing


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-b0", "mit_b0"])
def test_freezing_takes_gradients_from_nothing_the_first_blocks_or_all(name: str) -> None:
    found = [set(block) for block in blocks(shared(name))]
    for config, expected in (
        (Nothing(), found),
        (First(blocks=2), found[2:]),
        (Whole(), []),
    ):
        network = encoder(name)
        freeze(network, config)
        assert trained(network) == set().union(*expected)


def test_what_was_frozen_can_be_frozen_differently() -> None:
    network = encoder("resnet18")
    freeze(network, First(blocks=2))
    freeze(network, Nothing())
    assert trained(network) == {name for name, _ in network.named_parameters()}


def test_blocks_are_found_where_no_gradients_are_recorded() -> None:
    network = shared("resnet18")
    expected = blocks(network)
    with torch.no_grad():
        assert blocks(network) == expected


def test_what_reaches_no_feature_map_is_never_trained() -> None:
    network = encoder("efficientnet-b0")
    freeze(network, Nothing())
    idle = {name for name, _ in network.named_parameters()} - trained(network)
    assert idle == {"_conv_head.weight", "_bn1.weight", "_bn1.bias"}


def test_all_blocks_can_be_frozen_and_not_one_more() -> None:
    network = encoder("mit_b0")
    freeze(network, First(blocks=4))
    assert trained(network) == set()
    with pytest.raises(ValueError) as error:
        freeze(encoder("mit_b0"), First(blocks=5))
    assert str(error.value) == (
        "model.encoder.freeze.first.blocks must be at most 4, the blocks that the encoder has, "
        "got 5"
    )


def test_a_module_is_frozen_when_none_of_its_parameters_is_trained() -> None:
    network = encoder("resnet18")
    freeze(network, First(blocks=1))
    frozen = frozen_modules(network)
    assert [name for name, module in network.named_modules() if module in frozen] == [
        "conv1",
        "bn1",
    ]
    network.requires_grad_(False)
    assert network in frozen_modules(network)


# Weights from files


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


def test_what_the_encoder_does_not_have_is_passed_over(tmp_path: Path) -> None:
    state = encoder().state_dict() | {"head.weight": torch.zeros(1000, 512)}
    load_weights(encoder(), save(state, tmp_path / "whole.pth"), name="resnet18")


def test_a_missing_tensor_is_refused_by_name_with_what_may_be_meant(tmp_path: Path) -> None:
    state = {f"encoder.{key}": tensor for key, tensor in encoder().state_dict().items()}
    path = save(state, tmp_path / "prefixed.pth")
    with pytest.raises(ValueError) as error:
        load_weights(encoder(), path, name="resnet18")
    assert str(error.value).startswith(
        f"{path} does not fit the encoder 'resnet18': 100 of its 120 tensors are missing or of "
        "another shape, the first is 'conv1.weight'; did you mean 'encoder.conv1.weight'"
    )


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


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("pointer.pth", written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")),
        ("half.pth", lambda path: half(save(encoder().state_dict(), path))),
        ("nested.pth", lambda path: save({"state_dict": encoder().state_dict()}, path)),
        ("whole.pth", lambda path: save(encoder(), path)),
        ("empty.pth", written(b"")),
        ("tensor.pth", lambda path: save(torch.zeros(3), path)),
        ("list.pth", lambda path: save([1, 2], path)),
        ("numbers.pth", lambda path: save({"conv1.weight": 1}, path)),
        ("keys.pth", lambda path: save({1: torch.zeros(3)}, path)),
        ("noise.pth", written(b"\x80\x02\x61\x62\x2e")),
        ("empty.safetensors", written(b"")),
        ("noise.safetensors", written(bytes(range(256)))),
        pytest.param("half.safetensors", lambda path: half(save(encoder().state_dict(), path))),
    ],
)
def test_a_file_that_holds_no_state_dict_is_refused_by_name(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    with pytest.raises(ValueError, match=name):
        load_weights(encoder(), tmp_path / name, name="resnet18")


# Weights before any training


def test_random_weights_need_nothing() -> None:
    require_weights("resnet18", "none")


@pytest.mark.parametrize("weights", ["nowhere.pth", "ImageNet", ""])
def test_weights_that_are_no_file_are_refused(weights: str) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet18", weights)
    assert str(error.value) == (
        "encoder weights must be 'none', 'imagenet' or a file, and there is no file "
        f"{Path(weights)}"
    )


def test_an_encoder_without_imagenet_weights_says_which_it_has() -> None:
    with pytest.raises(ValueError) as error:
        require_weights("dpn92", "imagenet")
    assert str(error.value) == (
        "there are no ImageNet weights for 'dpn92', only imagenet+5k; use --weights none or a file"
    )


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    # In a process of its own: the hub's library reads the environment when it is imported.
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "from brainseg.encoders import require_weights\n"
            "try:\n    require_weights('resnet18', 'imagenet')\n"
            "except ValueError as error:\n    print(error)",
        ],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == (
        "the ImageNet weights of 'resnet18' are neither in the hub's cache nor can the hub be "
        "reached; run once where there is a network (the cache is $HF_HOME), or use "
        "--weights none or --weights FILE"
    )
