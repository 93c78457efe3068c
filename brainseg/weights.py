"""What weights an encoder starts from: none, the hub's, or a file's, which must fit exactly."""

from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file
from torch import Tensor, nn

from brainseg.space import did_you_mean


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
