"""State dicts of other authors: unwrapped, and renamed to fit an encoder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from brainseg.config.schema import did_you_mean
from brainseg.models.encoders import (
    TIMM,
    on_meta_device,
)
from brainseg.models.libraries import timm
from brainseg.models.tensor_faults import is_short, kind_fault, value_fault
from brainseg.models.weight_files import StateDict, read_states, two_lines

# What files put before a tensor's name.
WRAPPERS = ("module", "_orig_mod", "body", "encoder", "backbone", "model", "network", "net", "unet")
# Parts beside an encoder that a file may hold: classification heads, and the rest of a network.
HEADS = ("fc", "_fc", "classifier", "head", "last_linear", "linear", "aux_classifier")
REST = ("decoder", "segmentation_head", "classification_head")
COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True)
class _Fit:
    """What one state dict of a file, with one prefix before its names, gives to an encoder."""

    tensors: StateDict  # by the encoder's names, of the right shape
    names: dict[str, str]  # the same tensors' names in the file
    missing: list[str]  # of the encoder
    shapes: dict[str, str]  # of another shape, by the encoder's names: theirs, and the right one
    extra: list[str]  # of the file, which belong neither to the encoder nor to what surrounds it

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.extra


def the_only_state(path: Path) -> StateDict:
    """The tensors of a file that holds one state dict."""
    states = read_states(path)
    if len(states) > 1:
        raise _ambiguous(path, list(states))
    return next(iter(states.values()))


def load_state(encoder: nn.Module, states: dict[str, StateDict], path: Path, name: str) -> str:
    """Fill ``encoder`` from the one of ``states`` that fits, or refuse and leave it as it was.

    Args:
        states: what the file at ``path`` holds, see ``read_states``.

    Returns:
        What is worth telling of the weights, or nothing.
    """
    target = encoder.state_dict()
    fits = {place: _best_fit(state, target, name) for place, state in states.items()}
    whole = [place for place, fit in fits.items() if fit.is_whole]
    if len(whole) > 1:
        raise _ambiguous(path, whole)
    fit = fits[whole[0]] if whole else min(fits.values(), key=_distance)
    if fit.missing:
        first = fit.missing[0]
        shape = f", {fit.shapes[first]}" if first in fit.shapes else ""
        names = [key for state in states.values() for key in state]
        close = did_you_mean(first, names) or f"; those of the file begin with {names[0]!r}"
        raise ValueError(
            f"{path} does not fit the encoder {name!r}: {len(fit.missing)} of its {len(target)} "
            f"tensors are missing or of another shape, the first is {first!r}"
            f"{shape or close}"
        )
    if fit.extra:
        raise ValueError(
            f"{path} does not fit the encoder {name!r}: {len(fit.extra)} of the file's tensors "
            f"belong neither to it nor to a head, the first is {fit.extra[0]!r}"
            f"{did_you_mean(fit.extra[0], target)}"
        )
    for key, tensor in fit.tensors.items():
        if fault := value_fault(key, tensor, target[key]):
            raise ValueError(f"{path} holds {fit.names[key]!r}, {fault}")
    encoder.load_state_dict(target | fit.tensors)
    short = {str(t.dtype).removeprefix("torch.") for t in fit.tensors.values() if is_short(t)}
    kinds = ", ".join(sorted(short))
    return f"{path} holds weights of {kinds}; training continues in float32" if short else ""


def _ambiguous(path: Path, places: Sequence[str]) -> ValueError:
    shown = " and ".join(place.strip("[]").replace("][", ", ") for place in places)
    return ValueError(
        f"{path} holds weights in {len(places)} places ({shown}), and which are meant is not "
        f"known; of those that are, {two_lines(path, f'held{places[-1]}')}"
    )


def _best_fit(state: StateDict, target: StateDict, name: str) -> _Fit:
    fit = min((_fitted(state, target, p) for p in _prefixes(state, target)), key=_distance)
    if not fit.extra:
        return fit
    spare = _dropped_by_timm(name)
    return replace(fit, extra=[key for key in fit.extra if _last_name(key) not in spare])


def _distance(fit: _Fit) -> tuple[int, int]:
    return len(fit.missing), len(fit.extra)


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


def _fitted(state: StateDict, target: StateDict, prefix: str) -> _Fit:
    """What ``state`` holds for ``target`` with ``prefix`` before its names."""
    theirs = {alias: key for key in target for alias in _aliases(key)}
    tensors: StateDict = {}
    names: dict[str, str] = {}
    shapes: dict[str, str] = {}
    extra: list[str] = []
    for key, tensor in state.items():
        mine = theirs.get(key.removeprefix(prefix)) if key.startswith(prefix) else None
        if mine is None:
            if _last_name(key).split(".")[0] not in (*HEADS, *REST, COUNTER):
                extra.append(key)
            continue
        if kind_fault(tensor, target[mine]):  # told once all else fits
            tensors[mine], names[mine] = tensor, key
        elif (adapted := _adapted(tensor, target[mine])).shape == target[mine].shape:
            tensors[mine], names[mine] = adapted, key
        else:
            shapes[mine] = f"{_in_words(tensor)} in place of {_in_words(target[mine])}"
    missing = [k for k in target if k not in tensors and not k.endswith("num_batches_tracked")]
    return _Fit(tensors, names, missing, shapes, extra)


def _in_words(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


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
