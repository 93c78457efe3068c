"""Why a trial that failed is tried again: somebody asks for it, or by its own words it may succeed.

Each driver asks once for each failed trial, so that none is tried again for ever.
"""

import re

import torch

from brainseg.config.hyperparameters import Encoder, TrialConfig
from brainseg.config.schema import build
from brainseg.launch.deaths import INFEASIBLE_RAM
from brainseg.models.weights import require_weights
from brainseg.records.checkpoint_index import remedied
from brainseg.records.run import Run, TrialRecord
from brainseg.records.storage import BROKEN, NO_ROOM, words_of

RAM = re.compile(rf"^{INFEASIBLE_RAM}|\(RAM: ")  # see deaths.py and training/guards/memory.py
GPU_ROOM = re.compile(r"total capacity of ([\d.]+) GiB")  # of the GPU, in PyTorch's words
WEIGHTS = re.compile(r"there is no file|a folder of weights must hold|the hub cannot be reached")


def why_retry(run: Run, record: TrialRecord, *, asked: bool) -> str:
    """Why the failed trial of ``record`` is tried again; "" if it is not.

    Args:
        asked: whether the command says ``--retry-failed``.
    """
    if asked:
        return "--retry-failed"
    if remedied(run.trial(record.trial).path):
        return "its damaged checkpoints were removed"
    if RAM.search(record.reason):
        return "its host may have more memory now"
    if any(words in record.reason for words in words_of(NO_ROOM | BROKEN)):
        return "the storage works now"
    if WEIGHTS.search(record.reason) and _weights_are_there(run, record):
        return "its weights are there now"
    if (had := GPU_ROOM.search(record.reason)) and _gpu_gibibytes() > float(had[1]) + 0.5:
        return f"a GPU here has {_gpu_gibibytes():.1f} GiB"
    return ""


def _weights_are_there(run: Run, record: TrialRecord) -> bool:
    config = build(TrialConfig(), run.trial(record.trial).params())
    if not isinstance(config.model, Encoder):
        return False
    try:
        require_weights(config.model.name, config.model.weights, config.channels)
    except ValueError:
        return False
    return True


def _gpu_gibibytes() -> float:
    """Of the largest GPU of this machine; 0 without one."""
    sizes = (
        torch.cuda.get_device_properties(number).total_memory
        for number in range(torch.cuda.device_count())
    )
    return max(sizes, default=0) / 2**30
