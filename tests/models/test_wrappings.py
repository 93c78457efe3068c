"""Weights are found in whatever wrapping others saved them: names, containers, whole models."""

import json
import re
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from brainseg.config.hyperparameters import Encoder
from brainseg.models.network import build_network
from brainseg.models.weights import load_weights, require_weights
from tests.support.encoders import ONE_A_CLASS, copied, encoder, other, same, save, shared

torch.set_num_threads(1)


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
    with pytest.raises(ValueError, match="120 of the file's tensors belong neither"):
        load_weights(encoder(), save(both, tmp_path / "twins.pt"), name="resnet18")


def test_the_encoder_of_a_whole_network_of_the_library_is_taken(tmp_path: Path) -> None:
    whole = smp.Unet("resnet18", encoder_weights=None)
    whole.save_pretrained(tmp_path / "unet")
    assert (tmp_path / "unet" / "model.safetensors").exists()
    network = other(encoder())
    load_weights(network, tmp_path / "unet", name="resnet18")
    assert same(network, whole.encoder)


def trial_folder(path: Path, name: str, file: str = "best.pt") -> tuple[Path, nn.Module]:
    """A trial's folder as brainseg leaves it, and the network of its checkpoint."""
    config = Encoder(name=name, weights="none")
    network = build_network(config, image_size=64)
    path.mkdir()
    torch.save({"network": network.state_dict(), "epoch": 3}, path / file)
    params = {"model": "encoder", "model.encoder.name": name}
    (path / "config.json").write_text(json.dumps(params))
    return path, network


@pytest.mark.parametrize("kept", ["best.pt", "last.pt"])
@pytest.mark.parametrize("named", [True, False])
def test_an_earlier_trial_s_encoder_is_taken(tmp_path: Path, kept: str, named: bool) -> None:
    folder, trained = trial_folder(tmp_path / "0007", "resnet18", kept)
    file = kept if named else ""
    config = Encoder(name="resnet18", weights=str(folder / file))
    network = build_network(config, image_size=64)
    assert same(network.encoder, trained.get_submodule("body.encoder"))
    require_weights("resnet18", str(folder / file))


@pytest.mark.parametrize("kept", ["best.pt", "last.pt"])
def test_a_trial_of_another_encoder_is_refused_by_its_name(tmp_path: Path, kept: str) -> None:
    folder, _ = trial_folder(tmp_path / "0007", "resnet18", kept)
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
        "a folder of weights must hold model.safetensors, pytorch_model.bin, last.pt, "
        f"best.pt, {tmp_path} holds none"
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
    assert set(HEADS) == set(ONE_A_CLASS)


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
