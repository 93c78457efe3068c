"""Which kind of machine this is, as far as it decides how fast a step is computed."""

import hashlib
import json
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from brainseg.process import code_digest

VERSION = 1  # of what is measured, and how
CPU_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping")
CODE = (  # distributions whose code decides which numbers a trial computes
    *("brainseg", "torch", "numpy", "opencv-python-headless", "albumentations"),
    *("segmentation-models-pytorch", "timm"),
)
OWN_CODE = "brainseg code"  # of ``versions``: a version stays through many changes
COMPUTES = ("config", "data", "models", "training", "evaluation")  # packages that decide numbers
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # what may be used of it


def kind_of_machine(device: torch.device) -> dict[str, str]:
    """What the machine is; two machines with the same answer compute alike.

    It names the kind and decides nothing: processors that say the same of themselves differ in how
    fast they are at what they can.
    """
    kind = {
        "version": str(VERSION),
        "device": device.type,
        "torch": torch.__version__,
        "libraries": _digest(torch.__config__.show()),
    }
    if device.type == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        gpu = {"name": torch.cuda.get_device_name(device), "capability": capability}
        return kind | gpu | {"cudnn": str(torch.backends.cudnn.version())}
    limits = {name: os.environ[name] for name in LIMITS if name in os.environ}
    return kind | _processor() | limits | {"threads": str(torch.get_num_threads())}


@cache
def versions() -> dict[str, str]:
    """Of the code that computes, as a trial records them (8 ms, once in a process)."""
    return {name: _version(name) for name in CODE} | {OWN_CODE: code_digest(*COMPUTES)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def digest_of(kind: dict[str, str]) -> str:
    """A name for a file about this kind of machine."""
    return _digest(json.dumps(kind, sort_keys=True))


def _processor() -> dict[str, str]:
    """What the system says of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"name": platform.processor() or platform.machine()}
    lines = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    known = {name: facts[name] for name in CPU_FIELDS if name in facts}
    flags = facts.get("flags") or facts.get("Features", "")
    return {"name": known.pop("model name", platform.machine()), **known, "flags": _digest(flags)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
