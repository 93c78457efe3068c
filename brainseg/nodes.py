"""The machines of a Ray cluster: those that are there, those that may come, and what each sees."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from brainseg.placement import Room

HEAD = "node:__internal_head__"  # a resource that Ray gives to the head alone


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living machine of the cluster, with what Ray counts on it, busy or not."""

    id: str
    host: str
    ip: str
    cpus: float
    gpus: float
    memory: float  # bytes
    is_head: bool

    @property
    def room(self) -> Room:
        return Room(cpus=self.cpus, gpus=self.gpus, memory=self.memory)


def living() -> list[Node]:
    """The nodes of the joined cluster, the head first."""
    found = [
        Node(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            ip=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", 0.0),
            is_head=HEAD in node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: (not node.is_head, node.ip))


def on_each(
    work: Callable[..., Any],
    *arguments: Any,
    nodes: Sequence[Node] | None = None,
    timeout_seconds: float = 60.0,
) -> dict[Node, Any]:
    """Run a function once on every node, side by side; a node's value is an error if it failed.

    It takes no CPU of the cluster, so it runs where trials hold them all.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(work)
    begun = {
        node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in (living() if nodes is None else nodes)
    }
    ray.wait(list(begun.values()), num_returns=len(begun), timeout=timeout_seconds)
    return {node: _answer(ref, timeout_seconds) for node, ref in begun.items()}


def _answer(ref: Any, timeout_seconds: float) -> Any:
    try:
        return ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return TimeoutError(f"no answer within {timeout_seconds:g} s")
    except ray.exceptions.RayError as error:
        return error


def autoscaling(nodes: Sequence[Node]) -> dict[str, Any]:
    """The config of the cluster's autoscaler, as the file says that the head was started with.

    Empty where there is none, and on Kubernetes, whose autoscaler keeps its limits to itself.
    """
    heads = [node for node in nodes if node.is_head]
    found = on_each(_autoscaling_config, nodes=heads, timeout_seconds=15)
    config = next(iter(found.values()), None)
    return config if isinstance(config, dict) else {}


def _autoscaling_config() -> dict[str, Any] | None:
    """The file of an autoscaler that runs on this machine."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is another user's
        for word in words:
            if word.startswith("--autoscaling-config=") and "monitor.py" in " ".join(words):
                path = Path(word.partition("=")[2]).expanduser()
                return dict(yaml.safe_load(path.read_text())) if path.is_file() else None
    return None


def unseen(paths: Sequence[Path], nodes: Sequence[Node]) -> list[str]:
    """In words: which nodes do not see which of these paths, or cannot run brainseg at all."""
    found = on_each(_missing, [str(path) for path in paths], nodes=nodes)
    said = []
    for node, missing in found.items():
        if isinstance(missing, Exception):
            said.append(f"{node.host} ({node.ip}) cannot run brainseg ({_brief(missing)})")
        elif missing:
            said.append(f"{node.host} ({node.ip}) does not see {', '.join(missing)}")
    return said


def _missing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]


def _brief(error: Exception) -> str:
    """The last line of an error that came from another process: the cause."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


@contextmanager
def demanded(resources: dict[str, float], workers: int, trials: int) -> Iterator[None]:
    """Ask the cluster for room for so many trials, as its autoscaler understands it.

    The demand ends with the block, and with this process if it is killed.
    """
    groups = [placement_group([resources] * workers) for _ in range(trials)]
    try:
        yield
    finally:
        for group in groups:
            remove_placement_group(group)


def may_come(config: dict[str, Any], nodes: Sequence[Node]) -> list[Room]:
    """Room on nodes that an autoscaler of this ``config`` may add to ``nodes``, GPUs first.

    A living node is taken for one of the first type with its CPUs and GPUs.
    """
    rooms: list[Room] = []
    workers = [node for node in nodes if not node.is_head]
    for name, kind in config.get("available_node_types", {}).items():
        resources = kind.get("resources") or {}
        cpus, gpus = float(resources.get("CPU", 0)), float(resources.get("GPU", 0))
        if name == config.get("head_node_type") or not (cpus or gpus):
            continue
        there = sum((node.cpus, node.gpus) == (cpus, gpus) for node in workers)
        memory = float(resources.get("memory", 0))
        more = int(kind.get("max_workers", config.get("max_workers", 0))) - there
        rooms += [Room(cpus=cpus, gpus=gpus, memory=memory)] * max(more, 0)
    rooms.sort(key=lambda room: -room.gpus)
    return rooms[: max(int(config.get("max_workers", len(rooms))) - len(workers), 0)]
