"""State dicts of other authors: read from a file, unwrapped, renamed to fit an encoder."""

import re
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from brainseg.config.schema import did_you_mean
from brainseg.models.encoders import (
    TIMM,
    on_meta_device,
)

StateDict = dict[str, Tensor]
# Under which key files keep their tensors, and what they put before a tensor's name.
CONTAINERS = ("state_dict", "model_state_dict", "model_state", "model", "network")
WRAPPERS = ("module", "_orig_mod", "body", "encoder", "backbone", "model", "network")
# Parts beside an encoder that a file may hold: classification heads, and the rest of a network.
HEADS = ("fc", "_fc", "classifier", "head", "last_linear", "linear")
REST = ("decoder", "segmentation_head", "classification_head")


def read_state(path: Path) -> StateDict:
    """The tensors of a file by their names, out of whatever container they lie in."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the readers raise nearly anything
        raise ValueError(
            f"{path} cannot be read as a state dict ({type(error).__name__}); only tensors are read"
        ) from None
    while isinstance(state, dict) and (inner := [c for c in CONTAINERS if _holds(state, c)]):
        state = state[inner[0]]
    if not (isinstance(state, dict) and all(map(_named_tensor, state.items()))):
        raise ValueError(f"{path} cannot be read as a state dict: it holds no tensors by name")
    return state


def _holds(state: dict[str, Any], container: str) -> bool:
    return isinstance(state.get(container), dict)


def load_state(encoder: nn.Module, state: StateDict, path: Path, name: str) -> None:
    """Fill ``encoder`` with what the file at ``path`` holds, or refuse and leave it as it was."""
    target = encoder.state_dict()
    fits = [_fitted(state, target, prefix) for prefix in _prefixes(state, target)]
    fitted, extra = min(fits, key=lambda fit: (len(target) - len(fit[0]), len(fit[1])))
    missing = [
        key for key in target if key not in fitted and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise ValueError(
            f"{path} does not fit the encoder {name!r}: {len(missing)} of its {len(target)} "
            f"tensors are missing or of another shape, the first is {missing[0]!r}"
            f"{did_you_mean(missing[0], state)}"
        )
    spare = _dropped_by_timm(name) if extra else set()
    if extra := [key for key in extra if _last_name(key) not in spare]:
        raise ValueError(
            f"{path} does not fit the encoder {name!r}: {len(extra)} of the file's tensors belong "
            f"neither to it nor to a head, the first is {extra[0]!r}"
            f"{did_you_mean(extra[0], target)}"
        )
    encoder.load_state_dict(target | fitted)


def _prefixes(state: StateDict, target: StateDict) -> set[str]:
    """What a file may have put before the encoder's names: nothing, or wrappers and no more."""
    anchors = tuple(_aliases(next(iter(target))))
    prefixes = {""}
    for key in state:
        for anchor in anchors:
            prefix = key.removesuffix(anchor)
            if prefix.endswith(".") and all(p in WRAPPERS for p in prefix[:-1].split(".")):
                prefixes.add(prefix)
    return prefixes


def _fitted(state: StateDict, target: StateDict, prefix: str) -> tuple[StateDict, list[str]]:
    """Tensors for ``target`` of a file with ``prefix`` before their names, and names of the others.

    The others are without heads and what surrounds an encoder.
    """
    theirs = {alias: key for key in target for alias in _aliases(key)}
    fitted: StateDict = {}
    extra: list[str] = []
    for key, tensor in state.items():
        mine = theirs.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        if mine is None:
            if _last_name(key).split(".")[0] not in (*HEADS, *REST):
                extra.append(key)
        elif (adapted := _adapted(tensor, target[mine])).shape == target[mine].shape:
            fitted[mine] = adapted
    return fitted, extra


def _aliases(key: str) -> set[str]:
    """Names that timm and torchvision have for a tensor that the library renamed."""
    bare = key.removeprefix("model.")  # timm's, in an encoder of the library
    return {
        key,
        bare,
        re.sub(r"^([a-z_]+)_(\d+)\.", r"\1.\2.", bare),  # stages_0 is stages.0 in the whole model
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d\.)", r"\1.\2", key),  # older DenseNets
    }


def _last_name(key: str) -> str:
    """A tensor's name without the wrappers before it."""
    parts = key.split(".")
    while len(parts) > 1 and parts[0] in WRAPPERS:
        parts.pop(0)
    return ".".join(parts)


def _dropped_by_timm(name: str) -> set[str]:
    """Tensors of timm's whole model: what its encoder does not have of them was left away."""
    if not name.startswith(TIMM):
        return set()
    whole = on_meta_device(lambda: timm.create_model(name.removeprefix(TIMM)))
    return set(whole.state_dict())


def _named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _adapted(theirs: Tensor, target: Tensor) -> Tensor:
    """A convolution of 3 colours for as many channels as ``own`` takes; all else as it is.

    As segmentation-models-pytorch adapts its own weights: their sum for one channel, else the
    colours in turn, scaled so that the layer answers as strongly as before.
    """
    channels = target.shape[1] if target.ndim == 4 else 3
    fits = theirs.ndim == 4 and theirs.shape == (target.shape[0], 3, *target.shape[2:])
    if channels == 3 or not fits:
        return theirs
    if channels == 1:
        return theirs.sum(1, keepdim=True)
    return theirs[:, [k % 3 for k in range(channels)]] * (3 / channels)
