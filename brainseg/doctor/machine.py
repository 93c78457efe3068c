"""What one machine is, as far as training depends on it: software, devices, disks, names, ports.

Collected by a plain function on each node of a cluster. The facts travel as plain values, so that
nodes with another version of brainseg can send theirs. A fact that fails is named, not raised.
"""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from brainseg.doctor.open_ports import Port, ray_ports
from brainseg.process import code_digest

PACKAGES = (
    "ray",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "optuna",
    "wandb",
    "numpy",
)
WEB_SECONDS = 5.0
TORCH_SECONDS = 45.0
# Run in a process of its own: a broken library may end the process that loads it.
TORCH_PROBE = """
import json, torch
facts = {"cuda_build": torch.version.cuda or torch.version.hip or "", "torch_gpus": []}
try:
    from torchvision.ops import nms
    nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    facts["torch_gpus"] = [
        torch.cuda.get_device_name(at)
        for at in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        if torch.ones(1, device=f"cuda:{at}").add(1).item()
    ]
except Exception as error:
    facts["torch_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(facts))
"""


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """One machine; what is empty or None does not exist or could not be found out."""

    host: str = ""
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)  # "" not installed
    code: str = ""  # hash over brainseg's own files
    albumentations: list[str] = field(default_factory=list)  # distributions of that import name
    cuda_build: str = ""  # that torch was built for; "" for CPUs alone
    torch_gpus: list[str] = field(default_factory=list)  # on which torch added two numbers
    torch_error: str = ""
    gpus: list[str] = field(default_factory=list)  # that the driver knows, with their memory
    gpu_driver: str = ""
    gpu_error: str = ""
    cpus: int = 0
    cache: str = ""
    cache_free: float | None = None  # bytes
    storage_free: float | None = None  # bytes, at --storage or the nearest folder above it
    shm: float | None = None  # bytes of /dev/shm
    ray_problem: str = ""  # why a Ray could not work here: a sentence with its remedy
    speeds: list[dict[str, Any]] = field(default_factory=list)  # see compute.figures
    open_files: int | None = None
    addresses: list[str] = field(default_factory=list)  # that the machine's host name resolves to
    gloo_interface: str = ""
    omp_threads: str = ""  # as Ray's own processes or the shell have it
    hub: str = ""
    hub_offline: bool = False
    hub_reachable: bool = False
    ports: list[Port] = field(default_factory=list)
    missing: Mapping[str, str] = field(default_factory=dict)  # facts that failed, and why


def facts_of(values: Mapping[str, Any]) -> MachineFacts:
    """Facts from the values that a node sent, without those that only its version knows."""
    known = {field.name for field in fields(MachineFacts)}
    facts = {name: value for name, value in values.items() if name in known}
    return MachineFacts(**{**facts, "ports": [Port(**port) for port in facts.get("ports", ())]})


def collect(storage: str) -> dict[str, Any]:
    """All facts of this machine, in some seconds; ``storage`` may be empty."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "torch": _torch,
        "GPUs": _gpus,
        "the hub": _hub,
        "its host name": _names,
        "versions": _software,
        "disks": lambda: _disks(storage),
        "limits": _limits,
        "speeds": _speeds,
        "ports": lambda: {"ports": [asdict(port) for port in ray_ports()]},
    }
    facts: dict[str, Any] = {"host": socket.gethostname(), "cpus": os.cpu_count() or 0}
    missing = {}
    with ThreadPoolExecutor(len(parts)) as pool:
        asked = {name: pool.submit(part) for name, part in parts.items()}
    for name, answer in asked.items():
        try:
            facts |= answer.result()
        except Exception as error:  # one part that fails must not hide the others
            missing[name] = f"{type(error).__name__}: {error}"
    return {**facts, "missing": missing}


def now() -> float:
    """This machine's clock."""
    return time.time()


def counted(data: str) -> tuple[int, str]:
    """How many files this machine sees in the data (a folder or an address), or why none."""
    from brainseg.data import address, remote

    try:
        if address.is_address(data):
            return remote.num_files(data), ""
        if not Path(data).is_dir():
            return 0, "there is no such folder"
        count = sum(not name.startswith(".") for _, _, names in os.walk(data) for name in names)
    except (ValueError, OSError) as error:
        return 0, str(error)
    return count, "" if count else "the folder is empty"


def reachable(url: str) -> bool:
    """Whether a server answers at all, even with an error."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=WEB_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _software() -> dict[str, Any]:
    provided = metadata.packages_distributions().get("albumentations", [])
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": {name: _version(name) for name in PACKAGES},
        "code": code_digest(),
        "albumentations": sorted({f"{name} {_version(name)}" for name in provided}),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _torch() -> dict[str, Any]:
    """What torch finds in a process of its own; GPUs that Ray hides from its tasks are shown."""
    env = dict(os.environ)
    if not env.get("CUDA_VISIBLE_DEVICES"):
        env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", TORCH_PROBE],
        env=env,
        capture_output=True,
        text=True,
        timeout=TORCH_SECONDS,
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
    return {"torch_error": lines[-1]}


def _gpus() -> dict[str, Any]:
    """What NVIDIA's driver knows; nothing if nvidia-smi is not installed."""
    if not shutil.which("nvidia-smi"):
        return {}
    query = "--query-gpu=driver_version,name,memory.total"
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, timeout=30
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"gpu_error": lines[0] if lines else done.stderr.strip()}
    rows = [line.split(", ", 1) for line in lines]
    return {"gpu_driver": rows[0][0], "gpus": [row[1] for row in rows]}


def _disks(storage: str) -> dict[str, Any]:
    from brainseg.cluster.ray_folder import folder_problem, ray_folder, shared_memory_problem
    from brainseg.records.cache import default_cache

    cache = default_cache()
    disks: dict[str, Any] = {"cache": str(cache), "cache_free": _free(cache)}
    disks["ray_problem"] = shared_memory_problem() or folder_problem(ray_folder())
    if storage:
        disks["storage_free"] = _free(Path(storage))
    if Path("/dev/shm").is_dir():
        disks["shm"] = shutil.disk_usage("/dev/shm").total
    return disks


def _free(folder: Path) -> int:
    """Bytes free at a folder or, if it does not exist yet, at the nearest one above it."""
    whole = folder.absolute()
    return shutil.disk_usage(next(p for p in (whole, *whole.parents) if p.exists())).free


def _speeds() -> dict[str, Any]:
    from brainseg.training.compute.figures import all_figures

    return {"speeds": all_figures()}


def _limits() -> dict[str, Any]:
    """Limits and settings that processes of a trial inherit from Ray's, or from this shell."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    inherited = _raylets_environment() or os.environ
    return {
        "open_files": open_files,
        "gloo_interface": inherited.get("GLOO_SOCKET_IFNAME", ""),
        "omp_threads": inherited.get("OMP_NUM_THREADS", ""),
    }


def _raylets_environment() -> dict[str, str]:
    """What the raylet above this process was started with: Ray changes it for its workers."""
    try:
        return next((p.environ() for p in psutil.Process().parents() if p.name() == "raylet"), {})
    except psutil.Error:  # another user's
        return {}


def _names() -> dict[str, Any]:
    try:
        known = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return {"addresses": []}
    return {"addresses": sorted({str(entry[4][0]) for entry in known})}


def _hub() -> dict[str, Any]:
    from huggingface_hub import constants

    offline = bool(constants.HF_HUB_OFFLINE)
    return {
        "hub": constants.ENDPOINT,
        "hub_offline": offline,
        "hub_reachable": not offline and reachable(constants.ENDPOINT),
    }
