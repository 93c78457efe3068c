"""An encoder's weights fit exactly or are refused, and no file of them runs code."""

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import Encoder
from brainseg.models.network import build_network
from brainseg.models.weights import fill, is_path, load_weights, require_weights
from tests.support.encoders import encoder, same, save, shared

torch.set_num_threads(1)


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


def other(network: nn.Module) -> nn.Module:
    """The same network with other numbers in it."""
    for tensor in network.state_dict().values():
        tensor.add_(1)
    return network


def copied(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}


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
    ["fc.weight", "module.fc.bias", "head.weight", "classifier.1.weight", "last_linear.bias"],
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
        f"{path} does not fit the encoder 'resnet18': 1 of the file's tensors are neither its own "
        "nor of a head, the first is 'layer4.1.conv3.weight'; did you mean 'layer4.1.conv2.weight'"
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_deeper_sibling_that_has_every_tensor_is_refused(tmp_path: Path) -> None:
    # Each tensor of resnet18 is in resnet34, of the same shape; they are other weights.
    path = save(shared("resnet34").state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(ValueError, match=r"neither its own nor of a head, the first is 'layer1\.2"):
        load_weights(encoder(), path, name="resnet18")


def test_a_missing_tensor_is_refused_by_name_with_what_may_be_meant(tmp_path: Path) -> None:
    state = {f"net.{key}": tensor for key, tensor in encoder().state_dict().items()}
    path = save(state, tmp_path / "prefixed.pth")
    with pytest.raises(ValueError) as error:
        load_weights(encoder(), path, name="resnet18")
    assert str(error.value).startswith(
        f"{path} does not fit the encoder 'resnet18': 100 of its 120 tensors are missing or of "
        "another shape, the first is 'conv1.weight'; did you mean 'net.conv1.weight'"
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
        ("nested.pth", lambda path: save({"weights": encoder().state_dict()}, path)),
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


# Weights in other wrappings


@pytest.mark.parametrize(
    "prefix", ["module.", "encoder.", "body.encoder.", "backbone.", "module.encoder.", "_orig_mod."]
)
@pytest.mark.parametrize("container", ["", "state_dict", "model", "network"])
def test_common_wrappings_are_taken_off(tmp_path: Path, prefix: str, container: str) -> None:
    state: object = {prefix + key: v for key, v in shared("resnet18").state_dict().items()}
    wrapped = {container: state, "epoch": 3} if container else state
    network = other(encoder())
    load_weights(network, save(wrapped, tmp_path / "wrapped.pt"), name="resnet18")
    assert same(network, shared("resnet18"))


def test_two_encoders_in_one_file_are_refused(tmp_path: Path) -> None:
    state = shared("resnet18").state_dict()
    both = {f"{who}.{key}": v for who in ("encoder", "backbone") for key, v in state.items()}
    with pytest.raises(ValueError, match="120 of the file's tensors are neither"):
        load_weights(encoder(), save(both, tmp_path / "twins.pt"), name="resnet18")


def test_the_encoder_of_a_whole_network_of_the_library_is_taken(tmp_path: Path) -> None:
    whole = smp.Unet("resnet18", encoder_weights=None)
    whole.save_pretrained(tmp_path / "unet")
    assert (tmp_path / "unet" / "model.safetensors").exists()
    network = other(encoder())
    load_weights(network, tmp_path / "unet", name="resnet18")
    assert same(network, whole.encoder)


def trial_folder(path: Path, name: str) -> tuple[Path, nn.Module]:
    """A trial's folder as brainseg leaves it, and the network of its checkpoint."""
    config = Encoder(name=name, weights="none")
    network = build_network(config, image_size=64)
    path.mkdir()
    torch.save({"network": network.state_dict(), "epoch": 3}, path / "best.pt")
    params = {"model": "encoder", "model.encoder.name": name}
    (path / "config.json").write_text(json.dumps(params))
    return path, network


@pytest.mark.parametrize("file", ["", "best.pt"])
def test_an_earlier_trial_s_encoder_is_taken(tmp_path: Path, file: str) -> None:
    folder, trained = trial_folder(tmp_path / "0007", "resnet18")
    config = Encoder(name="resnet18", weights=str(folder / file))
    network = build_network(config, image_size=64)
    assert same(network.encoder, trained.get_submodule("body.encoder"))
    require_weights("resnet18", str(folder / file))


def test_a_trial_of_another_encoder_is_refused_by_its_name(tmp_path: Path) -> None:
    folder, _ = trial_folder(tmp_path / "0007", "resnet18")
    with pytest.raises(ValueError) as error:
        require_weights("resnet34", str(folder))
    assert str(error.value) == (
        f"{folder} is a trial of 'resnet18', whose weights do not fit the encoder 'resnet34'; "
        "take a trial of 'resnet34'"
    )
    (folder / "config.json").write_text(json.dumps({"model": "plain"}))
    with pytest.raises(ValueError, match="is a trial of 'plain'"):
        load_weights(encoder(), folder, name="resnet18")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet18", str(tmp_path))
    assert str(error.value) == (
        "a folder of weights must hold model.safetensors, pytorch_model.bin, best.pt, "
        f"{tmp_path} holds none"
    )


@pytest.mark.parametrize(
    "name",
    [
        "tu-resnet18",
        "tu-convnext_atto",  # its encoder calls stages.0 stages_0
        "tu-efficientnet_lite0",  # its encoder drops the last convolution
    ],
)
def test_a_whole_model_of_timm_gives_the_features_that_timm_makes_of_it(
    tmp_path: Path, name: str
) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name.removeprefix("tu-"))
    path = save(whole.state_dict(), tmp_path / "model.safetensors")
    network = encoder(name).eval()
    load_weights(network, path, name=name)
    theirs = timm.create_model(
        name.removeprefix("tu-"),
        features_only=True,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
    ).eval()
    image_BCHW = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(image_BCHW)[-1], theirs(image_BCHW)[-1])


def test_a_densenet_with_the_names_of_older_releases_is_taken(tmp_path: Path) -> None:
    state = shared("densenet121").state_dict()
    old = {re.sub(r"(layer\d+\.(?:norm|conv))([12])", r"\1.\2", key): v for key, v in state.items()}
    assert len(old.keys() - state.keys()) > 500
    network = other(encoder("densenet121"))
    load_weights(network, save(old, tmp_path / "old.pth"), name="densenet121")
    assert same(network, shared("densenet121"))


HEADS = {  # one encoder of each class of the library, and a head that it drops
    "densenet121": "classifier.weight",
    "dpn68": "last_linear.weight",
    "efficientnet-b0": "_fc.weight",
    "inceptionresnetv2": "last_linear.weight",
    "inceptionv4": "last_linear.weight",
    "mit_b0": "head.weight",
    "mobilenet_v2": "classifier.1.weight",
    "mobileone_s0": "linear.weight",
    "resnet18": "fc.weight",
    "se_resnet50": "last_linear.weight",
    "timm-efficientnet-b0": "classifier.weight",
    "timm-tf_efficientnet_lite0": "classifier.weight",
    "timm-skresnet18": "fc.weight",
    "vgg11_bn": "classifier.0.weight",
    "xception": "fc.weight",
}


def test_every_class_of_encoder_is_looked_at() -> None:
    known = smp.encoders.encoders
    assert {known[name]["encoder"] for name in HEADS} == {e["encoder"] for e in known.values()}


@pytest.mark.parametrize(("name", "head"), HEADS.items())
def test_the_head_that_the_library_drops_is_dropped(tmp_path: Path, name: str, head: str) -> None:
    network = encoder(name)
    state = copied(network) | {head: torch.zeros(1000, 8)}
    path = save(state, tmp_path / "own.safetensors")
    for load in (
        lambda: network.load_state_dict(dict(state)),
        lambda: load_weights(network, path, name=name),
    ):
        other(network)
        load()
        assert all(torch.equal(v, state[key]) for key, v in network.state_dict().items())
    path.unlink()


# Weights before any training


def test_random_weights_need_nothing() -> None:
    require_weights("resnet18", "none")


@pytest.mark.parametrize("weights", ["nowhere.pth", "./nowhere", "/no/folder"])
def test_a_file_that_is_not_there_is_refused(weights: str) -> None:
    with pytest.raises(ValueError) as error:
        require_weights("resnet18", weights)
    assert str(error.value) == (
        "encoder weights must be 'none', a published name as 'imagenet', or a file, and there is "
        f"no file {Path(weights)}"
    )


@pytest.mark.parametrize(
    ("name", "weights", "known"),
    [
        ("resnet18", "ImageNet", "none, imagenet, ssl, swsl, medical:radiologynet-resnet18"),
        ("resnet34", "", "none, imagenet"),
        ("dpn92", "imagenet", "none, imagenet+5k"),
        ("tu-convnext_atto", "instagram", "none, d2_in1k"),
        ("tu-ghostnet_050", "imagenet", "none"),
        ("tu-resnet50_clip.openai", "imagenet", "none, openai"),  # not of ImageNet
    ],
)
def test_weights_that_nobody_published_are_refused_with_those_that_are(
    name: str, weights: str, known: str
) -> None:
    with pytest.raises(ValueError) as error:
        fill(nn.Identity(), weights, name=name)
    assert str(error.value) == (
        f"there are no weights {weights!r} for the encoder {name!r}, only {known}; a file or "
        "folder is named with a slash or a suffix, as ./mine"
    )


@pytest.mark.parametrize("weights", ["none", "imagenet", "imagenet+5k", "noisy-student-475"])
def test_a_published_name_is_no_path(weights: str) -> None:
    assert not is_path(weights) and not is_path("medical:radimagenet-resnet50")
    assert is_path(f"./{weights}") and is_path(f"{weights}.pth")


OFFLINE = """\
from brainseg.models.weights import require_weights
for name, weights in ASKED:
    try:
        require_weights(name, weights)
    except ValueError as error:
        print(error)
"""


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    asked = [
        ("resnet18", "imagenet"),
        ("resnet18", "ssl"),
        ("tu-resnet18", "imagenet"),
        ("tu-resnet18.tv_in1k", "tv_in1k"),
        ("tu-legacy_seresnet18", "imagenet"),  # not on the hub: timm names an address
    ]
    # In a process of its own: the hub's library reads the environment when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", f"ASKED = {asked!r}\n{OFFLINE}"],
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    first = done.stdout.splitlines()[0]
    assert first == (
        "the weights 'imagenet' of 'resnet18' are neither in the hub's cache nor can the hub be "
        "reached; run `brainseg weights fetch resnet18` where there is a network (the cache is "
        "$HF_HOME), or use --weights none or --weights FILE"
    )
    assert done.stdout.count("nor can the hub be reached") == len(asked)
    assert "`brainseg weights fetch resnet18 --weights ssl`" in done.stdout
