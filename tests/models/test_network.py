"""Every encoder under every decoder takes bytes and gives logits; what is frozen does not move."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from brainseg.config.hyperparameters import AdamW, Encoder, First, Nothing, Plain, Whole
from brainseg.models.freezing import frozen_blocks
from brainseg.models.network import DECODERS, Network, build_network, require_size
from brainseg.models.plain_unet import PlainUnet
from brainseg.training.losses import pixel_sums, soft_dice
from brainseg.training.optim import build_optimizer

torch.set_num_threads(1)
SMALL = Plain(width=4, depth=2)
GENERATOR = torch.Generator().manual_seed(0)
IMAGE_BCHW = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=GENERATOR)
MASK_BHW = torch.randint(0, 2, (2, 32, 32), dtype=torch.uint8, generator=GENERATOR)
SCALING_BC3 = torch.tensor([255.0, 120.0, 60.0]).expand(2, 3, 3)  # ceiling, mean, deviation
FROZEN = [
    Encoder(name="resnet18", weights="none", freeze=First(blocks=2)),
    Encoder(name="resnet18", weights="none", freeze=Whole()),
    Encoder(name="efficientnet-b0", weights="none", freeze=First(blocks=3)),
    Encoder(name="mit_b0", weights="none", freeze=First(blocks=1)),
    Encoder(name="mit_b0", weights="none", freeze=Whole(), decoder="fpn"),
]


def built(config: Encoder | Plain, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    network = build_network(config, image_size=32)
    freeze = config.freeze if isinstance(config, Encoder) else Nothing()
    network.freeze(frozen_blocks(freeze, len(network.blocks), epoch=0, epochs=1))
    return network


def encoder(name: str, decoder: str = "unet") -> Encoder:
    return Encoder(name=name, weights="none", decoder=decoder)


def in_words(config: Encoder) -> str:
    return f"{config.name}-{type(config.freeze).__name__}"


def train_a_step(network: Network) -> None:
    optimizer = build_optimizer(network, AdamW(lr=0.01, weight_decay=0.1))
    network.train()
    soft_dice(pixel_sums(network(IMAGE_BCHW, SCALING_BC3), MASK_BHW), smooth=1).backward()
    optimizer.step()


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}


# Shapes and sizes


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("config", [SMALL, *FROZEN[::2]], ids=lambda config: type(config).__name__)
def test_a_network_takes_any_number_of_channels(config: Encoder | Plain, channels: int) -> None:
    network = build_network(config, channels).eval()
    image_BCHW = IMAGE_BCHW[:, [0] * channels]
    assert network(image_BCHW, SCALING_BC3[:, [0] * channels]).shape == (2, 32, 32)


def test_the_plain_u_net_is_the_published_one_in_size() -> None:
    parameters = sum(p.numel() for p in built(Plain(width=64, depth=4)).parameters())
    assert 30.9e6 < parameters < 31.1e6


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        Plain(width=4, depth=4, norm="none", dropout=0.0),
        encoder("vgg16"),
        encoder("mobilenet_v2"),
        encoder("mit_b0"),
        encoder("mit_b0", "fpn"),
        encoder("efficientnet-b0", "unetplusplus"),
        *(encoder("resnet18", decoder) for decoder in DECODERS),
    ],
    ids=str,
)
def test_bytes_become_one_logit_a_pixel(config: Encoder | Plain) -> None:
    network = built(config).eval()
    with torch.no_grad():
        logits_BHW = network(IMAGE_BCHW, SCALING_BC3)
    assert logits_BHW.shape == (2, 32, 32)
    assert logits_BHW.dtype == torch.float32
    assert logits_BHW.isfinite().all()


def test_a_network_sees_levels_cut_off_centred_and_scaled_per_slice_and_channel() -> None:
    scaling_BC3 = torch.rand(2, 3, 3, generator=GENERATOR) * 100 + 50
    received = []
    body = nn.Conv2d(3, 1, 1)
    body.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    Network(body)(IMAGE_BCHW, scaling_BC3)
    for b in range(2):
        for c in range(3):
            ceiling, mean, deviation = scaling_BC3[b, c]
            expected = (IMAGE_BCHW[b, c].float().clamp(max=float(ceiling)) - mean) / deviation
            assert torch.allclose(received[0][b, c], expected)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_plain_u_net_has_norms_or_biases(norm: str) -> None:
    network = PlainUnet(width=4, depth=2, dropout=0.1, norm=norm)
    kinds = [type(module) for module in network.modules()]
    assert (nn.BatchNorm2d in kinds) == (norm == "batch")
    first = network.downs[0][0]
    assert isinstance(first, nn.Conv2d) and (first.bias is None) == (norm == "batch")


def test_every_weight_of_the_plain_u_net_is_used() -> None:
    network = built(SMALL)
    network(IMAGE_BCHW, SCALING_BC3).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (
            Encoder(),
            250,
            "image_size must be a multiple of 32 for this network, got 250; try 224 or 256",
        ),
        (
            Encoder(),
            20,
            "image_size must be a multiple of 32 for this network, got 20; try 32 or 64",
        ),
        (
            Plain(depth=4),
            100,
            "image_size must be a multiple of 16 for this network, got 100; try 96 or 112",
        ),
        (
            Plain(depth=1),
            0,
            "image_size must be a multiple of 2 for this network, got 0; try 2 or 4",
        ),
    ],
)
def test_a_size_that_cannot_be_halved_often_enough_is_refused(
    config: Encoder | Plain, size: int, message: str
) -> None:
    with pytest.raises(ValueError) as error:
        require_size(config, size)
    assert str(error.value) == message


@pytest.mark.parametrize("config", [SMALL, encoder("resnet18")], ids=str)
@pytest.mark.parametrize("steps", [1, 3])
def test_an_accepted_size_works(config: Encoder | Plain, steps: int) -> None:
    size = steps * (4 if isinstance(config, Plain) else 32)
    require_size(config, size)
    image_BCHW = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    assert built(config).eval()(image_BCHW, SCALING_BC3).shape == (2, size, size)


# What is random and what is not


@pytest.mark.parametrize("config", [SMALL, encoder("resnet18"), encoder("mit_b0")], ids=str)
def test_one_seed_gives_one_network(config: Encoder | Plain) -> None:
    first, again, other = (snapshot(built(config, seed)) for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_freezing_changes_no_initial_weight() -> None:
    free = snapshot(built(Encoder(name="resnet18", weights="none", freeze=Nothing())))
    frozen = snapshot(built(FROZEN[0]))
    assert all(torch.equal(free[key], frozen[key]) for key in free)


@pytest.mark.parametrize(
    "config",
    [SMALL, encoder("resnet18"), encoder("mit_b0"), encoder("efficientnet-b0")],
    ids=str,
)
def test_two_evaluations_of_one_image_are_equal_and_two_trainings_are_not(
    config: Encoder | Plain,
) -> None:
    network = built(config)
    with torch.no_grad():
        network.eval()
        first, second = (network(IMAGE_BCHW, SCALING_BC3) for _ in range(2))
        assert torch.equal(first, second)
        network.train()
        assert not torch.equal(network(IMAGE_BCHW, SCALING_BC3), first)


def test_weights_from_a_file_are_in_the_network(mobilenet_weights: Path) -> None:
    config = Encoder(name="mobilenet_v2", weights=str(mobilenet_weights), freeze=Whole())
    state = built(config).state_dict()
    for key, tensor in torch.load(mobilenet_weights, weights_only=True).items():
        if f"body.encoder.{key}" in state:
            assert torch.equal(state[f"body.encoder.{key}"], tensor)
    assert any(key.startswith("body.encoder.") for key in state)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no encoder 'resnet19'; did you mean"):
        build_network(encoder("resnet19"))


@pytest.mark.parametrize("name", ["mit_b0"])
def test_a_decoder_that_cannot_take_the_encoder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"(?i)unetplusplus.*{name}"):
        build_network(encoder(name, "unetplusplus"))


# What is frozen


@pytest.mark.parametrize("config", FROZEN, ids=in_words)
def test_a_step_moves_every_trained_weight_and_no_frozen_one(config: Encoder) -> None:
    network = built(config)
    before = snapshot(network)
    train_a_step(network)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
        elif parameter.ndim > 1:  # decayed, so that even a dead unit moves
            assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("config", FROZEN[:3], ids=in_words)
def test_a_step_moves_the_statistics_of_trained_norms_and_of_no_frozen_one(
    config: Encoder,
) -> None:
    network = built(config)
    before = snapshot(network)
    train_a_step(network)
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and f"{name}.running_mean" in before
    }
    idle = {"body.encoder._bn1"}  # of efficientnet-b0: no image passes through it
    frozen = {name for name, module in norms.items() if not module.weight.requires_grad} - idle
    assert frozen and norms.keys() - frozen - idle
    for name, module in norms.items():
        for key in ("running_mean", "running_var", "num_batches_tracked"):
            still = torch.equal(getattr(module, key), before[f"{name}.{key}"])
            assert still == (name in frozen | idle), f"{name}.{key}"


@pytest.mark.parametrize("name", ["resnet18", "mit_b0", "efficientnet-b0"])
def test_a_frozen_encoder_answers_in_training_as_in_evaluation(name: str) -> None:
    network = built(Encoder(name=name, weights="none", freeze=Whole()))
    body = network.body.get_submodule("encoder")
    with torch.no_grad():
        training = network.train() and body(IMAGE_BCHW.float())
        evaluating = network.eval() and body(IMAGE_BCHW.float())
    assert all(torch.equal(a, b) for a, b in zip(training, evaluating, strict=True))


def test_training_and_evaluation_reach_every_part_that_is_not_frozen() -> None:
    network = built(FROZEN[0])
    for mode in (True, False, True):
        assert network.train(mode) is network
        parts = [m for m in network.modules() if list(m.parameters())]
        for part in parts:
            trained = any(p.requires_grad for p in part.parameters())
            assert part.training == (mode and trained)
