"""The weights that an encoder starts from: none, published, or a file's; they fit exactly."""

import re
from collections.abc import Hashable
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, is_offline_mode, try_to_load_from_cache
from torch import nn

from brainseg.models import medical_weights
from brainseg.models.downloads import drop_damaged, drop_damaged_of_timm
from brainseg.models.encoders import (
    TIMM,
    build_encoder,
    published_weights,
    size_options,
)
from brainseg.models.libraries import smp, timm
from brainseg.models.reuse import StartState
from brainseg.models.state_dicts import load_state, the_only_state
from brainseg.models.weight_files import StateDict, read_states
from brainseg.process import Recent, are_settled, identities
from brainseg.records.files import read_json

OF_TRIAL = ("last.pt", "best.pt")  # what a trial keeps, see ``keeping.checkpoint``
FILES = ("model.safetensors", "pytorch_model.bin", *OF_TRIAL)  # of a folder, the first that exists
KEPT_BYTES = 1 << 28  # of weights in a process, for its next trial: two ResNet50, or one alone
_loaded = Recent[Hashable, StartState](KEPT_BYTES, lambda state: state.num_bytes)


def is_path(weights: str) -> bool:
    """Whether ``weights`` is a path: it has a slash or a suffix, which no published name has."""
    named = weights.startswith(medical_weights.PREFIX)
    return not named and ("/" in weights or bool(Path(weights).suffix))


def require_weights(name: str, weights: str, channels: int = 3) -> str:
    """Make sure, before any training, that ``weights`` for ``name`` are available on this machine.

    Published weights of the libraries are downloaded to the hub's cache if they are missing.
    Medical ones are not, since somebody must accept their terms.

    Returns:
        What is worth telling of them, or nothing.

    Raises:
        ValueError: they do not exist, cannot be reached, or do not fit; says what to do.
    """
    if weights == "none":
        return ""
    if is_path(weights) or weights.startswith(medical_weights.PREFIX) or name.startswith(TIMM):
        return fill(build_encoder(name, channels), weights, name=name)
    _hub_file(name, weights)
    return ""


def fill(encoder: nn.Module, weights: str, *, name: str, image_size: int = 256) -> str:
    """Fill ``encoder``, built with random weights, from ``weights`` of any kind but "none".

    Args:
        weights: "imagenet" or another published name of this encoder, "medical:<name>" (see
            ``medical_weights``), or the path of a file or folder.

    Returns:
        What is worth telling of them, or nothing.

    Raises:
        ValueError: they do not exist, cannot be reached, or do not fit; says what to do.
    """
    if weights.startswith(medical_weights.PREFIX):
        return load_medical(encoder, medical_weights.named(weights), name=name)
    if is_path(weights):
        return load_weights(encoder, Path(weights), name=name)
    if name.startswith(TIMM):
        encoder.load_state_dict(_timm_state(encoder, name, weights, image_size))
        return ""
    file = _hub_file(name, weights)
    return load_state(encoder, read_states(file), file, name)


def fill_again(encoder: nn.Module, weights: str, *, name: str, image_size: int) -> StartState:
    """Fill ``encoder`` as ``fill`` does, reading no file that this process has just read.

    Raises:
        ValueError: as ``fill``.
    """
    shapes = tuple((key, tensor.shape) for key, tensor in encoder.state_dict().items())
    files = identities(_files(name, weights))
    key = (name, weights, image_size, shapes, files)
    if kept := _loaded.find(key):
        encoder.load_state_dict(kept.tensors)
        return kept
    fill(encoder, weights, name=name, image_size=image_size)
    loaded = StartState({key: t.to("cpu", copy=True) for key, t in encoder.state_dict().items()})
    if files and are_settled(files) and files == identities(_files(name, weights)):
        _loaded.keep(key, loaded)
    return loaded


def _files(name: str, weights: str) -> list[Path]:
    """The files that ``fill`` reads; none where that is timm's affair or a download's."""
    if weights.startswith(medical_weights.PREFIX):
        return [medical_weights.named(weights).path]
    if is_path(weights):
        path = _file_of(Path(weights))
        return [path] + [path.with_name("config.json")] * (path.name in OF_TRIAL)
    if name.startswith(TIMM):
        return []
    settings = smp.encoders.encoders[name]["pretrained_settings"]
    if weights not in settings:
        return []
    repository, revision = settings[weights]["repo_id"], settings[weights]["revision"]
    cached = try_to_load_from_cache(repository, "model.safetensors", revision=revision)
    return [Path(cached)] if isinstance(cached, str) else []


def load_weights(encoder: nn.Module, path: Path, *, name: str) -> str:
    """Fill ``encoder`` from a file of tensors or a folder that holds one, which must fit exactly.

    Only tensors are read (``weights_only``): a file cannot run code. A first layer for colours is
    adapted to an encoder of another number of channels. Known containers and prefixes are
    removed where the rest then fits; a classification head or a decoder may remain unused. The
    folder may be a snapshot of the hub or a trial of brainseg.

    Returns:
        What is worth telling of them, or nothing.

    Raises:
        ValueError: there is no such file, it holds no tensors by name, or it has tensors missing,
            of another shape or unexpected, or values that are no weights. The encoder is then as it
            was.
    """
    file = _file_of(path)
    if path.is_dir() and file == path:
        raise ValueError(f"a folder of weights must hold {', '.join(FILES)}, {path} holds none")
    if not file.is_file():
        raise ValueError(
            f"encoder weights must be 'none', a published name such as 'imagenet', or a file, and "
            f"there is no file {path}"
        )
    if file.name in OF_TRIAL:
        _require_trial_of(name, file.with_name("config.json"))
    return load_state(encoder, read_states(file), file, name)


def _file_of(path: Path) -> Path:
    """The file of weights of a folder; ``path`` itself if it is no folder, or has none."""
    files = (path / name for name in FILES if path.is_dir() and (path / name).is_file())
    return next(files, path)


def load_medical(
    encoder: nn.Module, model: medical_weights.Medical, file: Path | None = None, *, name: str
) -> str:
    """Fill ``encoder`` from published medical weights: from ``file``, else from the cache.

    Raises:
        ValueError: they belong to another encoder, are not in the cache, changed, or do not fit.
    """
    if name != model.encoder:
        raise ValueError(
            f"the weights {medical_weights.PREFIX}{model.name} are of the encoder "
            f"{model.encoder!r}, not of {name!r}; set model.encoder.name={model.encoder}, or take "
            "other weights"
        )
    file = medical_weights.cached(model) if file is None else file
    state = {}
    for key, tensor in the_only_state(file).items():
        renames = (new + key.removeprefix(old) for old, new in model.renames if key.startswith(old))
        if not key.startswith(model.spare):
            state[next(renames, key)] = tensor
    return load_state(encoder, {"": state}, file, name)


def _require_trial_of(name: str, config: Path) -> None:
    """Refuse a checkpoint whose trial, by the config beside it, has another model."""
    params = read_json(config, kind=dict) if config.is_file() else {}
    theirs = params.get("model.encoder.name", params.get("model", name))
    if theirs != name:
        raise ValueError(
            f"{config.parent} is a trial of {theirs!r}, whose weights do not fit the encoder "
            f"{name!r}; take a trial of {name!r}"
        )


def _hub_file(name: str, weights: str) -> Path:
    """The library's weights in the hub's cache, at the revision that the library names."""
    settings = smp.encoders.encoders[name]["pretrained_settings"]
    if weights not in settings:
        raise _no_such_weights(name, weights)
    source = settings[weights]
    revision = source["revision"]
    drop_damaged(source["repo_id"], "model.safetensors", revision)
    try:
        return Path(hf_hub_download(source["repo_id"], "model.safetensors", revision=revision))
    except OSError:
        raise _unreachable(name, weights) from None


def _timm_state(encoder: nn.Module, name: str, weights: str, image_size: int) -> StateDict:
    """The tensors of an encoder of timm with the weights that timm publishes for it."""
    bare = name.removeprefix(TIMM).partition(".")[0]
    tags = published_weights(name)
    default = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    # timm's own choice, whose name has ImageNet's size, as in1k: others are no ImageNet weights.
    if weights == "imagenet" and default and re.search(r"inw?\d+k", default.tag or ""):
        weights = str(default.tag)
    source = timm.get_pretrained_cfg(f"{bare}.{weights}") if weights in tags else None
    if source is None:
        raise _no_such_weights(name, weights)
    drop_damaged_of_timm(f"{bare}.{weights}")
    file = Path(torch.hub.get_dir(), "checkpoints", Path(str(source.url)).name)
    if is_offline_mode() and not source.hf_hub_id and not file.is_file():
        raise _unreachable(name, weights)
    built = vars(encoder)
    try:
        filled: nn.Module = smp.encoders.get_encoder(
            f"{TIMM}{bare}.{weights}",
            in_channels=built["_in_channels"],
            depth=built["_depth"],
            weights=True,
            output_stride=built["_output_stride"],
            **size_options(name, image_size),
        )
    except OSError:
        raise _unreachable(name, weights) from None
    return filled.state_dict()


def _no_such_weights(name: str, weights: str) -> ValueError:
    medical = [medical_weights.PREFIX + m.name for m in medical_weights.ALL if m.encoder == name]
    known = ["none", *published_weights(name), *medical]
    return ValueError(
        f"there are no weights {weights!r} for the encoder {name!r}, only {', '.join(known)}; "
        "the path of a file or folder needs a slash or a suffix, such as ./mine"
    )


def _unreachable(name: str, weights: str) -> ValueError:
    command = f"brainseg weights fetch {name}"
    command += "" if weights == "imagenet" else f" --weights {weights}"
    return ValueError(
        f"the weights {weights!r} of {name!r} are not in the hub's cache, and the hub cannot be "
        f"reached; run `{command}` where there is a network (the cache is $HF_HOME), or use "
        "--weights none or --weights FILE"
    )
