"""Which encoders there are, what weights are published for each, and how one is built."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from brainseg.config.schema import did_you_mean
from brainseg.models.libraries import smp, timm

M = TypeVar("M", bound=nn.Module)
TIMM = "tu-"  # the prefix of timm's encoders in segmentation-models-pytorch

# Encoder, weights, licence of the weights; the first matching row counts. The library's own
# repositories say "other" for all of them, so each row is what the origin says: timm's card of the
# same weights (`license` of resnet50.tv_in1k and so on, timm 1.0.31), or, where timm has none, the
# library's licenses/LICENSES.md (efficientnet, mit, mobileone). Neither names one for mobilenet_v2.
LICENCES = (
    ("*", "instagram", "CC-BY-NC-4.0"),
    ("*", "s*sl", "CC-BY-NC-4.0"),
    ("densenet*", "*", "Apache-2.0"),
    ("dpn*", "*", "Apache-2.0"),
    ("efficientnet-*", "*", "Apache-2.0"),
    ("inception*", "*", "Apache-2.0"),
    ("mit_*", "*", "NVIDIA, not commercial"),
    ("mobileone_*", "*", "Apple MobileOne"),
    ("resn*", "*", "BSD-3-Clause"),
    ("se*", "*", "Apache-2.0"),
    ("timm-*", "*", "Apache-2.0"),
    ("vgg*", "*", "BSD-3-Clause"),
    ("xception", "*", "Apache-2.0"),
    ("*", "*", "unknown"),
)


def catalogue() -> list[str]:
    """The names of all encoders of segmentation-models-pytorch; those of timm are not listed."""
    return sorted(smp.encoders.encoders)


def matching(pattern: str) -> list[str]:
    """The encoder named ``pattern``, else those that match it as a glob or contain it.

    timm's are among them only if the pattern starts with `tu-`; with a dot in it, each of timm's
    pretrained variants by its own name.

    Raises:
        ValueError: there is none; similar names are suggested.
    """
    known = _timm_names("." in pattern) if pattern.startswith(TIMM) else catalogue()
    if pattern in known:
        return [pattern]
    glob = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    if matches := [name for name in known if fnmatchcase(name, glob)]:
        return matches
    near = did_you_mean(pattern.strip("*?"), [*catalogue(), *_timm_names()])
    raise ValueError(
        f"there is no encoder that matches {pattern!r}{near or '; `brainseg encoders` lists all'}"
    )


def published_weights(name: str) -> dict[str, str]:
    """The weights that are published for an encoder, with their licence; timm's by their tags."""
    if not name.startswith(TIMM):
        settings = smp.encoders.encoders[name]["pretrained_settings"]
        return {weights: _licence(name, weights) for weights in settings}
    bare, _, tag = name.removeprefix(TIMM).partition(".")
    published = _timm_weights().get(bare, {})
    return {key: licence for key, licence in published.items() if tag in ("", key)}


def require_known(name: str) -> None:
    """Refuse an encoder that does not exist or has no feature maps; similar names are suggested.

    Raises:
        ValueError: neither segmentation-models-pytorch nor timm knows ``name``, or it is a model
            of timm that cannot be an encoder.
    """
    if name in catalogue():
        return
    bare, _, tag = name.removeprefix(TIMM).partition(".")
    if not name.startswith(TIMM) or not timm.is_model(bare):
        known = [*catalogue(), *_timm_names()]
        raise ValueError(f"there is no encoder {name!r}{did_you_mean(name, known)}")
    if tag and name not in _timm_names(tags=True):
        tags = [f"{TIMM}{bare}.{known}" for known in published_weights(TIMM + bare)]
        raise ValueError(
            f"there is no encoder {name!r}{did_you_mean(name, tags) or f'; take {TIMM + bare!r}'}"
        )
    if why := _no_feature_maps(name):
        raise ValueError(
            f"an encoder must have feature maps of 1/4 to 1/32 of the image, and {name!r} does not "
            f"({why}); take another of `brainseg encoders '{TIMM}*'`"
        )


def build_encoder(name: str, channels: int = 3, image_size: int = 256) -> nn.Module:
    """An encoder of random weights, for images of ``channels`` and ``image_size`` a side."""
    built: nn.Module = smp.encoders.get_encoder(
        name, in_channels=channels, weights=None, **size_options(name, image_size)
    )
    return built


def size_options(name: str, image_size: int) -> dict[str, int]:
    """The option with which an encoder takes images of this size: none, or `img_size`.

    Some of timm's encoders are built for one size (attention in windows, learned positions).
    """
    only_size = fixed_size(name)
    return {"img_size": image_size} if only_size not in (None, image_size) else {}


def fixed_size(name: str) -> int | None:
    """The one image size that timm's weights of an encoder are for; None if it takes others."""
    if not name.startswith(TIMM):
        return None
    published = timm.get_pretrained_cfg(name.removeprefix(TIMM), allow_unregistered=True)
    if published is None or not published.fixed_input_size:
        return None
    size: int = published.input_size[-1]
    return size


def on_meta_device(make: Callable[[], M]) -> M:
    """What ``make`` makes on PyTorch's meta device: all shapes, no data, so little work."""
    with torch.device("meta"), _RealRanges():
        return make().to("meta")  # a first layer of other than 3 channels is made with data


class _RealRanges(TorchFunctionMode):
    """Keeps the data of `linspace`: mix-transformers read their rates of stochastic depth from it.

    Building them with all data, only to drop it, takes ten times as long.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        on_cpu = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **on_cpu | (kwargs or {}))


@cache
def _no_feature_maps(name: str) -> str:
    """Why a model of timm cannot be made an encoder; empty if it can."""
    try:
        on_meta_device(lambda: smp.encoders.get_encoder(name, weights=None))
    except Exception as error:  # each family of models raises another kind
        return f"{type(error).__name__}: {error}"
    return ""


def _licence(name: str, weights: str) -> str:
    return next(
        licence
        for encoder, kind, licence in LICENCES
        if fnmatchcase(name, encoder) and fnmatchcase(weights, kind)
    )


@cache
def _timm_weights() -> dict[str, dict[str, str]]:
    """Licence of each pretrained variant of each of timm's models, by the variant's tag."""
    licences: dict[str, dict[str, str]] = {}
    for variant in timm.list_models(pretrained=True):
        name, _, tag = variant.partition(".")
        card = timm.get_pretrained_cfg(variant)
        licences.setdefault(name, {})[tag] = (card and card.license) or "unknown"
    return licences


def _timm_names(tags: bool = False) -> list[str]:
    return [TIMM + name for name in timm.list_models(pretrained=tags)]
