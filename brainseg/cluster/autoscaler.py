"""What Ray's autoscaler may still add to the cluster."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml

from brainseg.cluster.nodes import Node, on_each
from brainseg.cluster.placement import Room


def autoscaling(nodes: Sequence[Node]) -> dict[str, Any]:
    """The config of the cluster's autoscaler, from the file that the head was started with.

    Empty where there is none, and on Kubernetes, whose autoscaler does not report its limits.
    """
    heads = [node for node in nodes if node.is_head]
    address = ray.get_runtime_context().gcs_address
    configs = on_each(_autoscaling_config, address, nodes=heads, timeout_seconds=15)
    config = next(iter(configs.values()), None)
    return config if isinstance(config, dict) else {}


def _autoscaling_config(gcs_address: str) -> dict[str, Any] | None:
    """What the autoscaler of the cluster at an address was started with, on this machine."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()  # None: it has ended, or is another user's
        if f"--gcs-address={gcs_address}" not in words:
            continue
        for word in words:
            if word.startswith("--autoscaling-config="):
                path = Path(word.partition("=")[2]).expanduser()
                return dict(yaml.safe_load(path.read_text())) if path.is_file() else None
    return None


def rooms_to_add(config: dict[str, Any], nodes: Sequence[Node]) -> list[Room]:
    """Room on nodes that an autoscaler of this ``config`` may add to ``nodes``, GPUs first.

    A living node counts as one of the first type that has as many CPUs and GPUs.
    """
    rooms: list[Room] = []
    workers = [node for node in nodes if not node.is_head]
    left = Counter((node.cpus, node.gpus) for node in workers)
    for name, kind in config.get("available_node_types", {}).items():
        resources = kind.get("resources") or {}
        cpus, gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
        if name == config.get("head_node_type") or not (cpus or gpus):
            continue
        most = int(kind.get("max_workers", config.get("max_workers", 0)))
        there = min(left[cpus, gpus], most)
        left[cpus, gpus] -= there
        memory = float(resources.get("memory", 0))
        rooms += [Room(cpus=cpus, gpus=gpus, memory=memory)] * (most - there)
    rooms.sort(key=lambda room: -room.gpus)
    return rooms[: max(int(config.get("max_workers", len(rooms))) - len(workers), 0)]
