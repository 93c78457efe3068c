"""A parameter belongs to the first feature map it moves; what is frozen is frozen."""

import pytest
import torch
from small_encoders import encoder, same, shared
from torch import Tensor, nn

from brainseg.config import First, Nothing, Whole
from brainseg.freezing import blocks, freeze, frozen_modules

torch.set_num_threads(1)
FAMILIES = ["vgg16", "mit_b0", "efficientnet-b0", "mobilenet_v2", "resnet18"]


def trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


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
