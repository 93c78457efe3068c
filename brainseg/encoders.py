"""Which encoders there are, what weights they start from, and which of their blocks are frozen."""

from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from brainseg.config import First, Nothing, Whole
from brainseg.space import did_you_mean

PROBE_PIXELS = 64  # side of the input that finds the blocks: every encoder takes it


def catalogue() -> list[str]:
    """The names of all encoders of segmentation-models-pytorch; timm's add a `tu-` before."""
    return sorted(smp.encoders.encoders)


def require_known(name: str) -> None:
    """Refuse an encoder that does not exist, with the names that are close.

    Raises:
        ValueError: neither segmentation-models-pytorch nor timm knows ``name``.
    """
    known = catalogue()
    if name in known or (name.startswith("tu-") and timm.is_model(name[3:].split(".")[0])):
        return
    if name.startswith("tu-"):
        known = [f"tu-{model}" for model in timm.list_models()]
    raise ValueError(f"there is no encoder {name!r}{did_you_mean(name, known)}")


def require_weights(name: str, weights: str, channels: int = 3) -> None:
    """Make sure that ``weights`` for ``name`` can be had on this machine, before any training.

    ImageNet weights are downloaded to the hub's cache if they are not there yet.

    Raises:
        ValueError: they do not exist, cannot be reached, or do not fit; with what to do.
    """
    if weights == "imagenet":
        _download(name)
    elif weights != "none":
        encoder = smp.encoders.get_encoder(name, in_channels=channels, weights=None)
        load_weights(encoder, Path(weights), name=name)


def load_weights(encoder: nn.Module, path: Path, *, name: str) -> None:
    """Fill ``encoder`` from a state-dict file (.pth, .pt or .safetensors) that must fit exactly.

    Only tensors are read (``weights_only``): a file cannot run code. A first layer for colours is
    adapted to an encoder of another number of channels.

    Raises:
        ValueError: the file does not exist, is not a state dict, or has keys missing or shapes
            that differ.
    """
    if not path.is_file():
        raise ValueError(
            f"encoder weights must be 'none', 'imagenet' or a file, and there is no file {path}"
        )
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the readers raise nearly anything
        raise ValueError(
            f"{path} cannot be read as a state dict ({type(error).__name__}); only tensors are read"
        ) from None
    if not (isinstance(state, dict) and all(map(_named_tensor, state.items()))):
        raise ValueError(f"{path} cannot be read as a state dict: it holds no tensors by name")
    own = encoder.state_dict()
    state = {key: _adapted(v, own[key]) if key in own else v for key, v in state.items()}
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise ValueError(
            f"{path} does not fit the encoder {name!r}: {len(wrong)} of its {len(own)} tensors are "
            f"missing or of another shape, the first is {wrong[0]!r}"
            f"{did_you_mean(wrong[0], state)}"
        )
    encoder.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def blocks(encoder: nn.Module, channels: int = 3) -> list[list[str]]:
    """The names of the parameters of an encoder of ``channels``, block by block from the input on.

    A parameter belongs to the first feature map that it influences: the map's gradient reaches
    it. Feature maps that no new parameter influences (the image itself) make no block. A
    parameter in no block influences nothing.
    """
    was_training = encoder.training
    encoder.eval()
    left = dict(encoder.named_parameters())
    image_BCHW = torch.zeros(1, channels, PROBE_PIXELS, PROBE_PIXELS)
    with torch.enable_grad():
        sums: list[Tensor] = [feature.sum() for feature in encoder(image_BCHW)]
    found = []
    for total in sums:
        if not (left and total.requires_grad):
            continue
        gradients = torch.autograd.grad(
            total, list(left.values()), retain_graph=True, allow_unused=True
        )
        reached = [key for key, g in zip(left, gradients, strict=True) if g is not None]
        left = {key: p for key, p in left.items() if key not in set(reached)}
        if reached:
            found.append(reached)
    encoder.train(was_training)
    return found


def freeze(encoder: nn.Module, config: Nothing | First | Whole, channels: int = 3) -> None:
    """Take gradients from the blocks that ``config`` names, and from what reaches no feature map.

    Raises:
        ValueError: more blocks are to be frozen than the encoder has.
    """
    found = blocks(encoder.requires_grad_(True), channels)
    trained = {Nothing: found, Whole: []}.get(type(config), [])
    if isinstance(config, First):
        if config.blocks > len(found):
            raise ValueError(
                f"model.encoder.freeze.first.blocks must be at most {len(found)}, the blocks that "
                f"the encoder has, got {config.blocks}"
            )
        trained = found[config.blocks :]
    names = {name for block in trained for name in block}
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in names)


def frozen_modules(network: nn.Module) -> list[nn.Module]:
    """Modules with parameters of which none is trained: to be kept in evaluation mode."""
    return [
        module
        for module in network.modules()
        if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
    ]


def _named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _adapted(theirs: Tensor, own: Tensor) -> Tensor:
    """A convolution of 3 colours for as many channels as ``own`` takes; all else as it is.

    As segmentation-models-pytorch adapts its own weights: their sum for one channel, else the
    colours in turn, scaled so that the layer answers as strongly as before.
    """
    channels = own.shape[1] if own.ndim == 4 else 3
    fits = theirs.ndim == 4 and theirs.shape == (own.shape[0], 3, *own.shape[2:])
    if channels == 3 or not fits:
        return theirs
    if channels == 1:
        return theirs.sum(1, keepdim=True)
    return theirs[:, [k % 3 for k in range(channels)]] * (3 / channels)


def _download(name: str) -> None:
    """Put the ImageNet weights of ``name`` into the hub's cache, where the library finds them."""
    if name.startswith("tu-"):
        return  # timm downloads by itself when the encoder is built
    settings = smp.encoders.encoders[name]["pretrained_settings"]
    if "imagenet" not in settings:
        raise ValueError(
            f"there are no ImageNet weights for {name!r}, only {', '.join(settings) or 'none'}; "
            "use --weights none or a file"
        )
    source = settings["imagenet"]
    try:
        for file in ("config.json", "model.safetensors"):
            hf_hub_download(source["repo_id"], filename=file, revision=source["revision"])
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise ValueError(
            f"the ImageNet weights of {name!r} are neither in the hub's cache nor can the hub be "
            "reached; run once where there is a network (the cache is $HF_HOME), or use "
            "--weights none or --weights FILE"
        ) from None
