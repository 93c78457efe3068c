"""A parameter belongs to the first feature map it moves; what is frozen is frozen."""

import pytest
import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import Encoder, First, Freeze, Gradual, Nothing, Whole
from brainseg.models.encoders import catalogue
from brainseg.models.freezing import (
    blocks,
    changed,
    freeze,
    frozen_blocks,
    modules_in_eval,
    rate_scales,
)
from brainseg.models.network import build_network
from tests.support.encoders import ONE_A_CLASS, encoder, same, shared

torch.set_num_threads(1)
SCALING_BC3 = torch.tensor([255.0, 0.0, 255.0]).expand(2, 3, 3)  # ceiling, mean, deviation
FAMILIES = ["vgg16", "mit_b0", "efficientnet-b0", "mobilenet_v2", "resnet18"]


def trained(network: nn.Module) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


# Blocks


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_in_one_block_or_moves_no_feature_map(name: str) -> None:
    network = shared(name).eval()
    keys = [key for block in blocks(network) for key in block]
    assert len(keys) == len(set(keys))
    unreached = [p for key, p in network.named_parameters() if key not in set(keys)]
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
        maps: list[Tensor] = network(image_BCHW)
        return maps

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
def test_freezing_takes_gradients_from_the_first_blocks(name: str) -> None:
    network = encoder(name)
    block_keys = blocks(network)
    for count in range(len(block_keys) + 1):
        freeze(network, block_keys, count)
        assert trained(network) == {key for block in block_keys[count:] for key in block}


def test_blocks_are_found_where_no_gradients_are_recorded() -> None:
    network = shared("resnet18")
    expected = blocks(network)
    with torch.no_grad():
        assert blocks(network) == expected


def test_what_reaches_no_feature_map_is_never_trained() -> None:
    network = encoder("efficientnet-b0")
    freeze(network, blocks(network), 0)
    idle = {name for name, _ in network.named_parameters()} - trained(network)
    assert idle == {"_conv_head.weight", "_bn1.weight", "_bn1.bias"}


def test_frozen_first_blocks_build_no_graph() -> None:
    network = encoder("resnet18")
    freeze(network, blocks(network), 2)
    features = network.train()(torch.randn(2, 3, 64, 64))
    assert [feature.requires_grad for feature in features] == [False] * 3 + [True] * 3


# What is frozen when


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Nothing(), [0] * 8),
        (First(blocks=2), [2] * 8),
        (First(blocks=5), [5] * 8),
        (Whole(), [5] * 8),
        (Gradual(until=0), [0] * 8),
        (Gradual(until=0.5), [5, 4, 3, 2, 0, 0, 0, 0]),
        (Gradual(until=1), [5, 5, 4, 4, 3, 2, 2, 1]),
    ],
)
def test_how_many_blocks_are_frozen_follows_from_the_epoch(
    config: Freeze, expected: list[int]
) -> None:
    assert [frozen_blocks(config, 5, epoch=epoch, epochs=8) for epoch in range(8)] == expected


@pytest.mark.parametrize("epochs", [1, 2, 7, 30, 100])
@pytest.mark.parametrize("until", [0.0, 0.1, 0.3, 0.5, 0.8, 1.0])
def test_gradual_unfreezing_never_freezes_again(epochs: int, until: float) -> None:
    config = Gradual(until=until)
    counts = [frozen_blocks(config, 4, epoch=epoch, epochs=epochs) for epoch in range(epochs)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == (4 if round(until * epochs) else 0)


def test_more_blocks_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ValueError) as error:
        frozen_blocks(First(blocks=5), 4, epoch=0, epochs=1)
    assert str(error.value) == (
        "model.encoder.freeze.first.blocks must be at most 4, the blocks that the encoder has, "
        "got 5"
    )


# Modules that stand still


def names(network: nn.Module, modules: list[nn.Module]) -> set[str]:
    return {name for name, module in network.named_modules() if module in modules}


def test_a_module_stays_in_eval_mode_when_it_neither_trains_nor_passes_gradients_on() -> None:
    network = encoder("resnet18")
    block_keys = blocks(network)
    freeze(network, block_keys, 1)
    assert names(network, modules_in_eval(network)) == {"conv1", "bn1", "relu", "maxpool"}
    freeze(network, block_keys, len(block_keys))
    assert network in modules_in_eval(network)
    freeze(network, block_keys, 0)
    assert modules_in_eval(network) == []


class Dropping(nn.Module):
    """Two convolutions with dropout after each, and one module of dropout that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.early, self.late, self.both = nn.Dropout(), nn.Dropout(), nn.Dropout()

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        early_map = self.both(self.early(self.first(image_BCHW)))
        return [early_map, self.both(self.late(self.second(early_map)))]


def test_dropout_is_off_before_the_trained_part_and_nowhere_else() -> None:
    network = Dropping()
    freeze(network, blocks(network), 1)
    assert names(network, modules_in_eval(network)) == {"first", "early"}


# The law, for an encoder of each class, and for every encoder


HEAVY = {  # 15 s to 150 s each; nothing runs them but pytest -m heavy
    "resnext101_32x16d",
    "resnext101_32x32d",
    "resnext101_32x48d",
    "timm-efficientnet-b8",
    "timm-efficientnet-l2",
}


@pytest.mark.parametrize("name", ONE_A_CLASS)
def test_frozen_blocks_of_each_class_of_encoders_stay_bit_for_bit_and_score_alike(
    name: str,
) -> None:
    train_half_frozen(name)


@pytest.mark.every_encoder
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.heavy] if n in HEAVY else []) for n in catalogue()],
)
def test_frozen_blocks_of_every_encoder_stay_bit_for_bit_and_score_alike(name: str) -> None:
    train_half_frozen(name)


def train_half_frozen(name: str) -> None:
    """Tensors and statistics of the frozen half are unchanged by training, all others are not."""
    torch.manual_seed(0)
    network = build_network(Encoder(name=name, weights="none"), 3, 64)
    count = len(network.blocks) // 2
    assert len(network.blocks) in (4, 5) and count == 2
    network.freeze(count)
    before, frozen = tensors(network.encoder), set(network.fingerprints())
    start = network.fingerprints()
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), SCALING_BC3
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        network.train()
        optimizer.zero_grad()
        network(*batch).square().mean().backward()
        optimizer.step()
    assert changed(start, network.fingerprints()) == []
    moved = {key for key, t in tensors(network.encoder).items() if not torch.equal(t, before[key])}
    assert not moved & frozen
    later = {key for block in network.blocks[count:] for key in block}
    assert len(moved & later) > 0.8 * len(later)
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(*batch), network(*batch))


def tensors(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}


def test_the_audit_sees_a_changed_weight_and_a_changed_statistic() -> None:
    network = build_network(Encoder(name="resnet18", weights="none"), 3, 64)
    network.freeze(2)
    start = network.fingerprints()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.bn1.num_batches_tracked"} <= set(start)
    assert not any(key.startswith("layer2") for key in start)
    with torch.no_grad():
        network.encoder.get_parameter("conv1.weight")[0, 0, 0, 0] += 1e-6
        network.encoder.get_buffer("bn1.running_mean")[3] = -0.0
    assert changed(start, network.fingerprints()) == ["conv1.weight", "bn1.running_mean"]


def test_rates_shrink_from_the_decoder_to_the_input() -> None:
    scales = rate_scales([["a", "b"], ["c"], ["d"]], 0.5)
    assert scales == {"a": 0.125, "b": 0.125, "c": 0.25, "d": 0.5}
