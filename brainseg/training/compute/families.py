"""Which networks compute alike: a family at a class of image sizes; which ones a sweep trains."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from math import log2
from typing import Any

from brainseg.config.distributions import Choice, Params, distribution
from brainseg.config.hyperparameters import Encoder, Plain, TrialConfig
from brainseg.config.schema import applied, build

MOST = 8  # families of a sweep that are measured
NETWORKS = ("model", "model.encoder.name", "model.encoder.decoder")  # what makes a family


def family(model: Encoder | Plain) -> str:
    """`resnet`, `resnet-fpn`, `convnext`; `plain64` for a plain U-Net of about that width."""
    if isinstance(model, Plain):
        return f"plain{_class(model.width)}"
    name = re.sub(r"^(tu|timm)-", "", model.name)
    word = re.match(r"[a-z]*", name)
    encoder = (word[0] if word else "") or name
    return encoder if model.decoder == "unet" else f"{encoder}-{model.decoder}"


def family_key(config: TrialConfig) -> str:
    """`resnet, 128 px, 3 channels`: configurations of one key are measured once."""
    return f"{family(config.model)}, {_class(config.image_size)} px, {config.channels} channels"


def asked_by(settings: Mapping[str, Any]) -> list[TrialConfig]:
    """A configuration for each family that a sweep can train, as sweep.json says.

    Its points come first, then what its space can draw.
    """
    if "base" not in settings:
        return []
    base = build(TrialConfig(), settings["base"])
    asked: dict[str, TrialConfig] = {}
    for params in _points(settings):
        try:
            config = applied(base, params, settings.get("fixed", {}))
        except ValueError:  # an encoder's name drawn beside the plain U-Net
            continue
        asked.setdefault(family_key(config), config)
    return list(asked.values())


def _points(settings: Mapping[str, Any]) -> Iterator[Params]:
    first, space = settings.get("first", ()), settings.get("space", {})
    yield from first
    if first and not space:
        return
    options = {path: _options(space[path]) for path in NETWORKS if path in space}
    for values in product(*options.values()):
        yield dict(zip(options, values, strict=True))
    if "model.encoder.name" in options and "model" in options:  # the plain U-Net has no name
        yield from ({"model": value} for value in options["model"])


def _options(text: str) -> tuple[Any, ...]:
    drawn = distribution(text)
    return drawn.options if isinstance(drawn, Choice) else ()


def _class(count: int) -> int:
    """The nearest power of two."""
    return int(2 ** round(log2(count)))
