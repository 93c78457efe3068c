"""Encoders are found by name."""

import pytest
import segmentation_models_pytorch as smp

from brainseg.config import ENCODERS
from brainseg.encoders import catalogue, require_known


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
