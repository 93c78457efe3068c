"""Every decoder trains on the encoders that it accepts; others are refused before training."""

import pytest
import torch
from torch import Tensor

from brainseg.config.hyperparameters import Encoder, Plain
from brainseg.models.network import (
    DECODERS,
    build_network,
    compatible_decoders,
    require_buildable,
    require_size,
)

torch.set_num_threads(1)


def encoder(name: str, decoder: str = "unet") -> Encoder:
    return Encoder(name=name, weights="none", decoder=decoder)  # type: ignore[arg-type]


def images(count: int, size: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    image_BCHW = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return image_BCHW, torch.tensor([255.0, 120.0, 60.0]).expand(count, channels, 3)


def test_the_decoders_are_those_of_the_config() -> None:
    assert compatible_decoders("resnet18") == list(DECODERS)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_gives_one_logit_a_pixel_and_trains_every_weight(decoder: str) -> None:
    network = build_network(encoder("resnet18", decoder), 3, 64)
    logits_BHW = network(*images(2, 64))
    assert logits_BHW.shape == (2, 64, 64)
    logits_BHW.sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "decoder"), [("vgg11", "unetplusplus"), ("mit_b0", "deeplabv3plus"), ("mit_b0", "fpn")]
)
def test_no_decoder_waits_for_the_gradient_of_a_weight_that_it_does_not_use(
    name: str, decoder: str
) -> None:
    network = build_network(encoder(name, decoder), 3, 64)
    network(*images(2, 64)).sum().backward()
    assert not [k for k, p in network.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("mit_b0", "unetplusplus"),
        ("vgg16", "deeplabv3plus"),
        ("densenet121", "deeplabv3plus"),
        ("inceptionv4", "deeplabv3plus"),
        ("xception", "deeplabv3plus"),
        ("tu-swin_tiny_patch4_window7_224", "deeplabv3plus"),
    ],
)
def test_a_pair_that_the_library_refuses_is_refused_before_any_trial(
    name: str, decoder: str
) -> None:
    with pytest.raises(ValueError) as error:
        require_buildable(encoder(name, decoder))
    message = str(error.value)
    assert message.startswith("a network must train on 2 images of 256 pixels, ")
    assert f"'{decoder}' on '{name}' does not (" in message
    assert "\n" not in message


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_accepted_pair_trains(decoder: str) -> None:
    config = encoder("mobilenet_v2", decoder)
    for size in (32, 96):
        require_size(config, size)
        require_buildable(config, 2, size)
        network = build_network(config, 2, size)
        assert network(*images(2, size, 2)).shape == (2, size, size)


@pytest.mark.parametrize(
    ("config", "size", "count"),
    [
        (encoder("resnet18", "deeplabv3plus"), 256, 1),  # one pooled value a channel
        (encoder("timm-skresnet18"), 256, 1),  # the same, inside the encoder
        (encoder("densenet121"), 32, 1),  # a feature map of one pixel
        (Plain(width=4, depth=2, norm="instance"), 4, 2),
        (Plain(width=4, depth=2, norm="batch"), 4, 1),
    ],
    ids=str,
)
def test_norms_with_one_value_a_channel_are_refused_as_training_refuses_them(
    config: Encoder | Plain, size: int, count: int
) -> None:
    with pytest.raises(ValueError, match="; take larger images, or more of them for each worker"):
        require_buildable(config, 3, size, count)
    network = build_network(config, 3, max(size, 32)).train()
    with pytest.raises(ValueError, match="Expected more than 1"):
        network(*images(count, size))


def test_the_default_decoder_is_accepted_without_building_it() -> None:
    """Nothing is built: a name of the library under a U-Net is known to work."""
    require_buildable(encoder("timm-efficientnet-l2"), 3, 512, 8)


@pytest.mark.parametrize("config", [encoder("resnet19"), encoder("tu-vit_tiny_patch16_224", "fpn")])
def test_what_is_no_encoder_is_refused_under_every_decoder(config: Encoder) -> None:
    with pytest.raises(ValueError, match=r"^(there is no encoder|an encoder must have)"):
        require_buildable(config)


# Encoders made for one image size


def test_an_encoder_made_for_one_size_trains_at_another() -> None:
    config = encoder("tu-coatnet_nano_rw_224")
    require_buildable(config, 3, 64)
    network = build_network(config, 3, 64)
    network(*images(2, 64)).sum().backward()
    assert len(network.blocks) == 5


def test_an_encoder_that_takes_its_own_size_alone_is_refused_at_another() -> None:
    require_buildable(encoder("tu-efficientformer_l1"), 3, 224)
    with pytest.raises(ValueError, match="; try image_size=224, which the encoder is made for"):
        require_buildable(encoder("tu-efficientformer_l1"), 3, 256)


@pytest.mark.parametrize(
    ("decoder", "size", "near"), [("deeplabv3plus", 40, "32 or 48"), ("segformer", 48, "32 or 64")]
)
def test_each_decoder_has_its_stride(decoder: str, size: int, near: str) -> None:
    config = encoder("resnet18", decoder)
    with pytest.raises(ValueError, match=f"got {size}; try {near}$"):
        require_size(config, size)
    with pytest.raises(RuntimeError, match="Wrong input shape"):
        build_network(config, 3, 64)(*images(2, size))
