"""Weights that the libraries have downloaded: a damaged file is removed, so that it comes again.

The hub's cache names large files by their SHA-256; PyTorch's ends its names with the first digits
of it. Neither library compares them when it takes a file from its cache.
"""

import hashlib
import re
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from brainseg.models.libraries import timm

HUB_NAME = re.compile(r"([0-9a-f]{64})$")
TORCH_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
TIMM_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")


def drop_damaged(repository: str, file: str, revision: str | None = None) -> None:
    """Remove a file of the hub's cache that is not what was downloaded.

    Raises:
        ValueError: it is damaged and cannot be removed.
    """
    path = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(path, str):
        _drop(Path(path), Path(path).resolve(), HUB_NAME)


def drop_damaged_of_timm(name: str) -> None:
    """The same for the file of an encoder of timm, by its name with the weights' tag."""
    source = timm.get_pretrained_cfg(name)
    assert source, "the caller has found it"
    if source.url:
        path = Path(torch.hub.get_dir(), "checkpoints", Path(str(source.url)).name)
        _drop(path, path, TORCH_NAME)
    if repository := source.hf_hub_id:
        repository += name * repository.endswith("/")
        for file in {*TIMM_FILES, source.hf_hub_filename or TIMM_FILES[0]}:
            drop_damaged(repository, file)


def _drop(path: Path, content: Path, pattern: re.Pattern[str]) -> None:
    named = pattern.search(content.name)
    try:
        if not named or not content.is_file() or sha256(content).startswith(named[1]):
            return
        print(f"{path} does not have its checksum; it is removed, to be downloaded again")
        path.unlink(missing_ok=True)
        content.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"weights must be whole, {path} is damaged and cannot be removed "
            f"({error.strerror or error}); delete it"
        ) from None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
