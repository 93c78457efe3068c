"""Encoders are found by name, with the weights and licences that are published for each."""

import pytest
import segmentation_models_pytorch as smp
import torch

from brainseg.config.hyperparameters import ENCODERS
from brainseg.models.encoders import (
    build_encoder,
    catalogue,
    fixed_size,
    matching,
    on_meta_device,
    published_weights,
    require_known,
    size_options,
)
from tests.support.encoders import ONE_A_CLASS

torch.set_num_threads(1)
SWIN = "tu-swin_tiny_patch4_window7_224"  # attention in windows of an image of 224 pixels


def test_the_catalogue_has_every_encoder_of_the_library() -> None:
    assert len(catalogue()) >= 76
    assert catalogue() == sorted(set(catalogue()))


def test_tests_of_one_encoder_a_class_leave_no_class_out() -> None:
    known = smp.encoders.encoders
    assert {known[name]["encoder"] for name in ONE_A_CLASS} == {
        e["encoder"] for e in known.values()
    }
    assert len({known[name]["encoder"] for name in ONE_A_CLASS}) == len(ONE_A_CLASS)


def test_every_encoder_that_is_searched_exists_and_has_imagenet_weights() -> None:
    for name in ENCODERS.options:
        require_known(str(name))
        source = smp.encoders.encoders[name]["pretrained_settings"]["imagenet"]
        assert {"repo_id", "revision"} <= set(source)


@pytest.mark.parametrize("name", ["tu-convnext_tiny", "tu-resnet18.a1_in1k", SWIN])
def test_an_encoder_of_timm_is_known_by_its_prefix(name: str) -> None:
    require_known(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "there is no encoder 'resnet51'; did you mean 'resnet50' or"),
        ("tu-convnext_tinny", "there is no encoder 'tu-convnext_tinny'; did you mean 'tu-convnext"),
        ("convnext_tiny", "there is no encoder 'convnext_tiny'; did you mean 'tu-convnext_tiny'"),
        (
            "tu-resnet18.a1_in2k",
            "there is no encoder 'tu-resnet18.a1_in2k'; did you mean 'tu-resnet18.a1_in1k'",
        ),
        (
            "tu-vit_tiny_patch16_224",
            "an encoder must have feature maps of 1/4 to 1/32 of the image, and "
            "'tu-vit_tiny_patch16_224' does not (",
        ),
        (
            "tu-levit_128",
            "an encoder must have feature maps of 1/4 to 1/32 of the image, and 'tu-levit_128'",
        ),
    ],
)
def test_what_is_no_encoder_is_refused_with_the_names_that_are_close(
    name: str, message: str
) -> None:
    with pytest.raises(ValueError) as error:
        require_known(name)
    assert str(error.value).startswith(message)


# Filters


def test_an_empty_filter_fits_all_and_a_name_fits_itself_alone() -> None:
    assert matching("") == catalogue()
    assert matching("resnet50") == ["resnet50"]


@pytest.mark.parametrize(
    ("pattern", "included", "missing"),
    [
        ("mit_*", {"mit_b0", "mit_b5"}, {"timm-skresnet18"}),
        ("resnet5", {"resnet50", "se_resnet50"}, {"resnet18"}),
        ("vgg1[13]", {"vgg11", "vgg13"}, {"vgg11_bn", "vgg16"}),
        ("tu-resnet18", {"tu-resnet18"}, {"resnet18", "tu-resnet18d"}),
        ("tu-resnet18*", {"tu-resnet18", "tu-resnet18d"}, {"tu-seresnet18"}),
        ("tu-resnet18.*", {"tu-resnet18.a1_in1k"}, {"tu-resnet18", "tu-resnet18d.ra2_in1k"}),
    ],
)
def test_a_filter_is_a_name_or_a_glob_or_a_part(
    pattern: str, included: set[str], missing: set[str]
) -> None:
    names = matching(pattern)
    assert included <= set(names)
    assert missing.isdisjoint(names)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("mitt_*", "there is no encoder that matches 'mitt_*'; did you mean 'mit_b"),
        (
            "convnext_tiny",
            "there is no encoder that matches 'convnext_tiny'; did you mean 'tu-convne",
        ),
        ("~", "there is no encoder that matches '~'; `brainseg encoders` lists all"),
    ],
)
def test_a_filter_that_fits_nothing_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        matching(pattern)
    assert str(error.value).startswith(message)


# Weights


def test_every_published_weight_has_a_licence_or_is_said_to_have_none_known() -> None:
    licences = {name: published_weights(name) for name in catalogue()}
    for name, weights in licences.items():
        assert set(weights) == set(smp.encoders.encoders[name]["pretrained_settings"])
    unknown = {name for name, weights in licences.items() if "unknown" in weights.values()}
    assert unknown == {"mobilenet_v2"}


@pytest.mark.parametrize(
    ("name", "weights", "licence"),
    [
        ("resnet50", "imagenet", "BSD-3-Clause"),
        ("resnet50", "ssl", "CC-BY-NC-4.0"),
        ("resnet18", "swsl", "CC-BY-NC-4.0"),
        ("resnext101_32x8d", "instagram", "CC-BY-NC-4.0"),
        ("mit_b0", "imagenet", "NVIDIA, not commercial"),
        ("timm-efficientnet-b0", "noisy-student", "Apache-2.0"),
        ("tu-resnet18", "tv_in1k", "bsd-3-clause"),
        ("tu-resnet18.fb_ssl_yfcc100m_ft_in1k", "fb_ssl_yfcc100m_ft_in1k", "cc-by-nc-4.0"),
    ],
)
def test_a_licence_is_that_of_the_weights(name: str, weights: str, licence: str) -> None:
    assert published_weights(name)[weights] == licence


@pytest.mark.parametrize(
    ("name", "weights", "same"),
    [
        ("resnet50", "imagenet", "tu-resnet50.tv_in1k"),
        ("resnet50", "ssl", "tu-resnet50.fb_ssl_yfcc100m_ft_in1k"),
        ("resnext101_32x8d", "instagram", "tu-resnext101_32x8d.fb_wsl_ig1b_ft_in1k"),
        ("vgg16", "imagenet", "tu-vgg16.tv_in1k"),
        ("densenet121", "imagenet", "tu-densenet121.tv_in1k"),
        ("dpn92", "imagenet+5k", "tu-dpn92.mx_in1k"),
        ("inceptionv4", "imagenet", "tu-inception_v4.tf_in1k"),
        ("xception", "imagenet", "tu-legacy_xception.tf_in1k"),
        ("se_resnet50", "imagenet", "tu-legacy_seresnet50.in1k"),
        ("timm-efficientnet-b0", "noisy-student", "tu-tf_efficientnet_b0.ns_jft_in1k"),
        ("timm-skresnet18", "imagenet", "tu-skresnet18.ra_in1k"),
    ],
)
def test_our_licences_are_those_of_the_cards_that_they_cite(
    name: str, weights: str, same: str
) -> None:
    (cited,) = published_weights(same).values()
    assert published_weights(name)[weights].lower() == cited


# Sizes


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", None), ("tu-resnet18", None), (SWIN, 224), (f"{SWIN}.ms_in1k", 224)],
)
def test_only_encoders_made_for_one_size_are_given_the_image_size(
    name: str, size: int | None
) -> None:
    assert fixed_size(name) == size
    assert size_options(name, 96) == ({"img_size": 96} if size else {})
    assert size_options(name, 224) == {}


@pytest.mark.parametrize("name", ["tu-hiera_tiny_224", "tu-coatnet_nano_rw_224"])
def test_an_encoder_made_for_one_size_takes_another(name: str) -> None:
    encoder = on_meta_device(lambda: build_encoder(name, 2, 96)).eval()
    features = encoder(torch.empty(1, 2, 96, 96, device="meta"))
    assert [feature.shape[-1] for feature in features][-1] == 3


@pytest.mark.parametrize("name", ["resnet18", "mit_b0", "efficientnet-b0"])
def test_an_encoder_on_the_meta_device_has_the_shapes_of_a_real_one(name: str) -> None:
    real, bare = build_encoder(name).eval(), on_meta_device(lambda: build_encoder(name)).eval()
    assert {k: v.shape for k, v in real.state_dict().items()} == {
        k: v.shape for k, v in bare.state_dict().items()
    }
    assert all(parameter.is_meta for parameter in bare.parameters())
    with torch.no_grad():
        shapes = [feature.shape for feature in real(torch.zeros(1, 3, 64, 64))]
        assert shapes == [f.shape for f in bare(torch.empty(1, 3, 64, 64, device="meta"))]
