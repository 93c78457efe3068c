"""A bundle is whole or refused: each file that is missing, cut or changed is named."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.inference.bundle import empty_network, read_bundle, write_bundle
from brainseg.inference.description import Description, Member, Threshold
from brainseg.inference.model import Model
from brainseg.inference.sources import open_model
from brainseg.models.weight_files import read_states, write_safetensors

SMALL = TrialConfig(model=Plain(width=2, depth=2), image_size=32)


def model_of(config: TrialConfig, members: int = 1, **more: Any) -> Model:
    """A model with random networks."""
    described = Description(
        name="small",
        kind="ensemble" if members > 1 else "trial",
        config=flatten(config),
        members=tuple(Member(trial=f"{n:04d}", seed=0, fold=n, epoch=3) for n in range(members)),
        **more,
    )
    return Model(described, [empty_network(config) for _ in range(members)], Path())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    write_bundle(folder, model_of(SMALL, 2, threshold=Threshold(value=0.4)))
    return folder


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    copytree(whole, tmp_path / "bundle")
    return tmp_path / "bundle"


def edited(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    held = json.loads((bundle / "model.json").read_text())
    change(held)
    (bundle / "model.json").write_text(json.dumps(held))


def refusal(bundle: Path) -> str:
    with pytest.raises(ValueError) as error:
        open_model(bundle)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 99}, "it is of format 99, this brainseg reads 1 to 1; install a newer"),
        ({"format": 99, "kind": None}, "it is of format 99, .*install a newer"),
        ({"format": 0}, "it is of format 0"),
        ({"format": "1"}, "has '1' as its format, not a whole number"),
        ({"format": None}, "lacks format"),
        ({"name": 3}, "has 3 as its name, not text"),
        ({"kind": "forest"}, "has the kind 'forest', not trial, ensemble, refit"),
        ({"members": []}, "has no members"),
        ({"members": ["0001"]}, "has a member that is no JSON object"),
        ({"members": [{"trial": 1, "seed": 0, "fold": 0, "epoch": 1}]}, "has 1 as its trial"),
        ({"threshold": 0.5}, "lacks threshold.value"),
        ({"threshold": {"value": None}}, "lacks threshold.value"),
        ({"threshold": {"value": 2}}, "has the threshold 2, not between 0 and 1"),
        ({"threshold": {"value": "0.5"}}, "has '0.5' as its threshold.value, not a number"),
        ({"channels": "FLAIR"}, "has 'FLAIR' as its channels, not a list"),
        ({"config": []}, r"has \[\] as its config, not an object"),
        ({"config": {"modle": "plain"}}, "holds no configuration .there is no hyperparameter"),
        ({"config": {"image_size": "big"}}, "holds no configuration .*image_size"),
        ({"config": {"image_size": [1]}}, "holds no configuration"),
        ({"sha256": "0" * 64}, "its SHA-256 is not the one in model.json"),
        ({"data": []}, r"has \[\] as its data"),
    ],
)  # fmt: skip
def test_a_changed_model_json_is_refused_by_its_field(
    bundle: Path, change: dict[str, Any], says: str
) -> None:
    edited(bundle, lambda held: held.update(change))
    with pytest.raises(ValueError, match=says):
        read_bundle(bundle)
    assert str(bundle) in refusal(bundle)


def test_an_encoder_that_is_unknown_here_is_named(bundle: Path) -> None:
    edited(
        bundle,
        lambda held: held.update(config=flatten(TrialConfig(model=Encoder(name="resnet19")))),
    )
    said = refusal(bundle)
    assert said.startswith(f"{bundle / 'model.json'} cannot be read: it describes a network that")
    assert "there is no encoder 'resnet19'" in said


@pytest.mark.parametrize("held", ["", "{", "[]", "null", "\0\0"])
def test_a_damaged_model_json_is_refused(bundle: Path, held: str) -> None:
    (bundle / "model.json").write_text(held)
    assert refusal(bundle).startswith(f"{bundle / 'model.json'} cannot be read: it ")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refusal(bundle).startswith(f"{bundle / name} cannot be read: it is missing; export")


def test_weights_that_are_cut_or_flipped_are_refused(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    for held in (b"", whole[:-1], whole[:20], bytes(flipped)):
        weights.write_bytes(held)
        assert "its SHA-256 is not the one in model.json" in refusal(bundle)


def test_other_tensors_than_the_networks_are_refused(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    (tensors,) = read_states(weights).values()
    first = next(iter(tensors))
    changes: dict[str, dict[str, torch.Tensor]] = {
        "it holds 3 networks, and model.json names 2": {**tensors, "2.more": torch.zeros(1)},
        "it holds 1 networks": {k: v for k, v in tensors.items() if k.startswith("0.")},
        "its tensors are not those of": {**tensors, "1.more": torch.zeros(1)},
        "are not those of the network": {**tensors, first: torch.zeros(7)},
        "and model.json names": {f"net.{name}": tensor for name, tensor in tensors.items()},
    }
    for says, held in changes.items():
        write_safetensors(weights, held)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        edited(bundle, lambda facts, digest=digest: facts.update(sha256=digest))  # type: ignore[misc]
        assert says in refusal(bundle)


def test_a_bundle_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    model = model_of(SMALL, 2, made="2026-12-01T00:00:00+00:00")
    write_bundle(tmp_path / "a", model)
    write_bundle(tmp_path / "b", model)
    write_bundle(tmp_path / "c", read_bundle(tmp_path / "a"))
    for name in ("model.safetensors", "model.json", "README.md"):
        first = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == first
        assert (tmp_path / "c" / name).read_bytes() == first


def test_a_cut_rewrite_leaves_no_model_that_is_half_old(bundle: Path) -> None:
    (bundle / "README.md").unlink()
    (bundle / "README.md").mkdir()  # the write of the card fails
    with pytest.raises(ValueError, match="must be a file, it is a folder"):
        write_bundle(bundle, model_of(SMALL))
    assert refusal(bundle).startswith(f"{bundle / 'model.json'} cannot be read: it is missing")


def test_what_a_killed_writer_left_is_in_nobodys_way(bundle: Path) -> None:
    (bundle / "model.json").unlink()
    (bundle / ".model.safetensors.4711").write_bytes(b"half")
    write_bundle(bundle, model_of(SMALL))
    names = sorted(path.name for path in bundle.iterdir())
    assert names == ["README.md", "model.json", "model.safetensors"]
    (bundle / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds notes\.txt; name a new folder"):
        write_bundle(bundle, model_of(SMALL))


def test_no_network_of_the_hub_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration names ImageNet weights, which are neither cached nor reachable."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    config = TrialConfig(model=Encoder(name="mobilenet_v2"), image_size=32)
    assert config.model == Encoder(name="mobilenet_v2", weights="imagenet")
    write_bundle(tmp_path / "bundle", model_of(config))
    image = np.zeros((20, 30, 3), np.uint8)
    assert read_bundle(tmp_path / "bundle").predict(image).shape == (20, 30)
    assert not (tmp_path / "hub").exists() and not (tmp_path / "torch").exists()


CONFIGS = {
    "one channel": replace(SMALL, channels=1),
    "two channels": replace(SMALL, channels=2, normalise="image"),
    "four channels": replace(SMALL, channels=4),
    "imagenet": replace(SMALL, normalise="imagenet"),
    "compiled": replace(SMALL, compile=True),
    "synchronised": replace(SMALL, sync_batch_norm=True),
    "unet++": TrialConfig(
        model=Encoder(name="resnet18", weights="none", decoder="unetplusplus"), image_size=64
    ),
    "fixed size": TrialConfig(
        model=Encoder(name="tu-swin_tiny_patch4_window7_224"), image_size=96
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_kind_of_configuration_comes_back_and_predicts(
    config: TrialConfig, tmp_path: Path
) -> None:
    model = model_of(config)
    write_bundle(tmp_path / "bundle", model)
    again = open_model(tmp_path / "bundle")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 3000, (2, 40, 50, config.channels)).astype(np.int16)
    probabilities = again.probabilities(image)
    assert probabilities.shape == (2, 40, 50)
    assert (probabilities == model.probabilities(image)).all()
