"""Networks that compute alike have one key; a sweep names those that it can train."""

import pytest

from brainseg.config.distributions import Choice
from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.config.schema import flatten
from brainseg.config.space import Space
from brainseg.config.sweep import REPORT_MODELS
from brainseg.training.compute.families import asked_by, family, family_key


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", "resnet"),
        ("resnet50", "resnet"),
        ("vgg16_bn", "vgg"),
        ("efficientnet-b3", "efficientnet"),
        ("timm-efficientnet-b3", "efficientnet"),
        ("mobilenet_v2", "mobilenet"),
        ("mit_b2", "mit"),
        ("tu-convnext_tiny", "convnext"),
    ],
)
def test_a_family_is_the_first_word_of_an_encoder_s_name(name: str, expected: str) -> None:
    assert family(Encoder(name=name)) == expected
    assert family(Encoder(name=name, decoder="fpn")) == f"{expected}-fpn"


def test_a_key_has_the_family_the_class_of_size_and_the_channels() -> None:
    config = TrialConfig(model=Encoder(name="resnet34"), image_size=240, channels=4)
    assert family_key(config) == "resnet, 256 px, 4 channels"
    assert family_key(TrialConfig(model=Plain(width=60))) == "plain64, 256 px, 3 channels"


def settings(space: Space[TrialConfig], *first: dict[str, object]) -> dict[str, object]:
    """The keys of sweep.json that say what is trained, as ``open_run`` writes them."""
    return {
        "base": flatten(space.config({})),
        "fixed": dict(space.fixed),
        "space": {path: str(drawn) for path, drawn in space.distributions().items()},
        "first": list(first),
    }


def test_a_sweep_can_train_its_points_and_what_its_space_draws() -> None:
    space = Space(
        TrialConfig(image_size=128),
        search=("model", "model.encoder.name", "optimizer.adamw.lr"),
        narrow={"model.encoder.name": Choice("resnet18", "resnet34", "mit_b0")},
        fixed={"model.plain.width": 16},
    )
    asked = asked_by(settings(space, *map(dict, REPORT_MODELS)))
    assert [family_key(config) for config in asked] == [
        f"{name}, 128 px, 3 channels" for name in ("plain16", "vgg", "resnet", "mit")
    ]


def test_a_list_can_train_its_points_alone_and_a_search_of_rates_its_base() -> None:
    held = Space(TrialConfig(), search=())
    point = {"model.encoder.name": "vgg16"}
    assert [family(config.model) for config in asked_by(settings(held, point))] == ["vgg"]
    rates = Space(TrialConfig(), search=("optimizer.adamw.lr",))
    assert [family(config.model) for config in asked_by(settings(rates))] == ["resnet"]


def test_a_run_without_settings_asks_for_nothing() -> None:
    assert asked_by({}) == []
