"""Out of memory: a batch goes through the network in 2 parts, then in 4; then the trial fails.

The trial starts again from its last checkpoint each time. Its gradients are those of the whole
batch, see ``micro_batches``; batch norm alone averages over a part.
"""

import gc
import re
from math import ceil
from pathlib import Path

import psutil
import torch

from brainseg.records.files import write_text
from brainseg.records.trial_folder import TrialDir

MOST_PARTS = 4
SIGNS = (  # of an allocation that failed, in what PyTorch and the libraries beneath it raise
    "DefaultCPUAllocator: can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
ONEDNN = "could not create a primitive"  # all that oneDNN says then; with more words it is no sign


class OutOfMemory(RuntimeError):
    """Ends a process of a trial of several: all of them start again, with smaller parts."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory was short."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return str(error) == ONEDNN or any(sign in str(error) for sign in SIGNS)


def figures(error: BaseException) -> str:
    """How much was asked for, and how much there is."""
    text = " ".join(str(error).split())
    if on_gpu := re.search(r"Tried to allocate .*? is free\.", text):
        return f"GPU memory: {on_gpu[0].rstrip('.')[0].lower()}{on_gpu[0].rstrip('.')[1:]}"
    if "CU" in text and "CPU" not in text:
        return f"GPU memory: {text[:200]}"
    asked = re.search(r"tried to allocate (\d+) bytes", text)
    more = f"{_gigabytes(int(asked[1]))} more were asked for" if asked else "more was asked for"
    return f"RAM: {more}, {_gigabytes(psutil.virtual_memory().available)} are available"


def parts_of(folder: TrialDir) -> int:
    """In how many parts the trial's batches go through the network."""
    path = _path(folder)
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return int(text) if text.strip() in ("2", "4") else 1


def set_parts(folder: TrialDir, parts: int) -> None:
    write_text(_path(folder), f"{parts}\n")


def halve(folder: TrialDir, parts: int, *, images: int, world: int, why: str) -> str:
    """Note that batches go in twice as many ``parts`` from now on; return why that cannot be.

    Called again by another process of the trial that met the same shortage, it changes nothing.

    Args:
        images: of a batch, over all of the trial's ``world`` processes.
        why: the figures.
    """
    smaller = 2 * parts
    if smaller > min(MOST_PARTS, images // world):
        at_once = ceil(images / world / parts)
        return (
            f"out of memory with {at_once} of {images} images at once ({why}); try a smaller "
            "image_size, batch_size or network, or a machine with more memory"
        )
    if parts_of(folder) < smaller:
        set_parts(folder, smaller)
        size = ceil(images / smaller)
        folder.note(0, f"batch {images} as {smaller} x {size} for want of {why}")
    return ""


def free() -> None:
    """Give back what a trial that ended has left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _path(folder: TrialDir) -> Path:
    return folder.path / "parts"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
