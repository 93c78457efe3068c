"""What the catalogue says of an encoder is what the encoder is."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from brainseg.models import catalogue, encoders, freezing
from brainseg.models.catalogue import (
    Block,
    EncoderFacts,
    cache_file,
    look_up,
    measure,
    whole_modules,
)
from brainseg.records.cache import read_checked
from tests.support.encoders import ONE_A_CLASS, shared

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Figures


def test_the_first_two_blocks_of_a_resnet50_are_its_stem_and_first_layer() -> None:
    facts = measure("resnet50")
    assert facts.frozen[:2] == (9_536, 225_344)
    assert [block.modules for block in facts.blocks] == [
        ("conv1", "bn1"),
        *((f"layer{n}",) for n in range(1, 5)),
    ]
    assert facts.stride == 32 and facts.idle == 0
    assert facts.frozen[-1] == facts.parameters == 23_508_032


def test_a_multiply_add_counts_two() -> None:
    """4.09 billion multiply-adds at 224 pixels, of which the last layer has 2 million."""
    assert measure("resnet50").gflops == pytest.approx(2 * 4.09 * (256 / 224) ** 2, rel=0.01)


@pytest.mark.parametrize("name", ["resnet18", "mit_b0", "efficientnet-b0"])
def test_what_is_measured_on_the_meta_device_is_what_the_real_encoder_holds(name: str) -> None:
    facts, encoder = measure(name), shared(name)
    sizes = {key: parameter.numel() for key, parameter in encoder.named_parameters()}
    counts = [sum(sizes[key] for key in block) for block in freezing.blocks(encoder)]
    assert [block.parameters for block in facts.blocks] == counts
    assert facts.parameters == sum(sizes.values())
    assert facts.idle == facts.parameters - sum(counts)


def test_parameters_that_reach_no_feature_map_are_idle() -> None:
    assert measure("efficientnet-b0").idle == 412_160


@pytest.mark.parametrize("name", ["vgg11", "mit_b0", "tu-resnet10t"])
def test_the_modules_of_all_blocks_hold_every_parameter_once(name: str) -> None:
    encoder = encoders.on_meta_device(lambda: encoders.build_encoder(name))
    parts = [part for block in measure(name).blocks for part in block.modules]
    held = [key for key, _ in encoder.named_parameters() for part in parts if _holds(part, key)]
    assert sorted(held) == sorted(key for key, _ in encoder.named_parameters())


def _holds(part: str, key: str) -> bool:
    return key == part or key.startswith(f"{part}.")


def test_a_module_is_named_whole_or_by_those_of_its_parts_that_are_meant() -> None:
    tree = nn.Sequential(
        nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)), nn.Linear(1, 1)
    )
    assert whole_modules(tree, {"0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias"}) == ["0"]
    assert whole_modules(tree, {"0.0.weight", "0.0.bias", "1.weight"}) == ["0.0", "1.weight"]
    assert whole_modules(tree, set()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "there is no encoder 'resnet19'"),
        ("tu-vit_tiny_patch16_224", "an encoder must have feature maps"),
        ("tu-efficientformer_l1", "'tu-efficientformer_l1' does not take images of 256 pixels"),
    ],
)
def test_what_cannot_be_measured_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        measure(name)


def test_an_encoder_of_each_class_has_figures_and_blocks() -> None:
    require_figures(ONE_A_CLASS)


@pytest.mark.every_encoder
def test_every_encoder_of_the_library_has_figures_and_blocks() -> None:
    require_figures(encoders.catalogue())


def require_figures(names: Sequence[str]) -> None:
    for name, facts in look_up(names).items():
        assert isinstance(facts, EncoderFacts), name
        assert facts.stride == 32 and facts.gflops > 0, name
        assert 4 <= len(facts.blocks) <= 5, name
        assert 0 <= facts.idle < facts.parameters, name


# The cache


def test_what_was_measured_once_is_read_and_equal() -> None:
    asked: list[Sequence[str]] = []

    def watch(names: Sequence[str]) -> Sequence[str]:
        asked.append(names)
        return names

    names = ["resnet18", "tu-vit_tiny_patch16_224"]
    first = look_up(names, watch)
    again = look_up([*names, "vgg11"], watch)
    assert asked == [names, ["vgg11"]]
    assert {name: again[name] for name in names} == first
    assert isinstance(first["resnet18"], EncoderFacts) and isinstance(
        first["resnet18"].blocks[0], Block
    )
    assert str(first["tu-vit_tiny_patch16_224"]).startswith("an encoder must have feature maps")


def test_an_interrupted_call_keeps_what_it_measured() -> None:
    def interrupted(names: Sequence[str]) -> Iterator[str]:
        yield names[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_up(["resnet18", "vgg11"], interrupted)
    assert set(json.loads(read_checked(cache_file()) or b"")) == {"resnet18"}


@pytest.mark.parametrize("text", ["", "{", "not JSON", '{"resnet18": {"parameters": 1}}'])
def test_a_cache_that_cannot_be_read_is_made_anew(text: str) -> None:
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(text)
    facts = look_up(["resnet18"])
    assert look_up(["resnet18"], lambda names: []) == facts


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    assert isinstance(look_up(["resnet18"])["resnet18"], EncoderFacts)


def test_the_cache_is_of_the_versions_that_were_measured() -> None:
    assert torch.__version__.split("+")[0] in cache_file().name
    assert cache_file().name.startswith(f"{catalogue.FORMAT}-")
